//! Robert Jenkins' mixing function as CRUSH uses it, on one to five words (`crush/hash.c`).

/// Start value of every hash (`crush_hash_seed`).
const SEED: u32 = 1_315_423_911;
/// Constants that are mixed in beside the words.
const X: u32 = 231_232;
/// See [`X`].
const Y: u32 = 1_232;

/// The public-domain 96-bit mix of <https://burtleburtle.net/bob/hash/evahash.html>.
#[inline]
pub(crate) fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    let mut round = |from_c: u32, from_a: u32, from_b: u32| {
        *a = a.wrapping_sub(*b).wrapping_sub(*c) ^ (*c >> from_c);
        *b = b.wrapping_sub(*c).wrapping_sub(*a) ^ (*a << from_a);
        *c = c.wrapping_sub(*a).wrapping_sub(*b) ^ (*b >> from_b);
    };
    round(13, 8, 13);
    round(12, 16, 5);
    round(3, 10, 15);
}

/// Hash of two words.
#[inline]
#[must_use]
pub(crate) fn hash2(mut a: u32, mut b: u32) -> u32 {
    let (mut x, mut y) = (X, Y);
    let mut hash = SEED ^ a ^ b;
    mix(&mut a, &mut b, &mut hash);
    mix(&mut x, &mut a, &mut hash);
    mix(&mut b, &mut y, &mut hash);
    hash
}

/// Hash of three words.
#[inline]
#[must_use]
pub(crate) fn hash3(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    let (mut x, mut y) = (X, Y);
    let mut hash = SEED ^ a ^ b ^ c;
    mix(&mut a, &mut b, &mut hash);
    mix(&mut c, &mut x, &mut hash);
    mix(&mut y, &mut a, &mut hash);
    mix(&mut b, &mut x, &mut hash);
    mix(&mut y, &mut c, &mut hash);
    hash
}

/// Hash of four words.
#[inline]
#[must_use]
pub(crate) fn hash4(mut a: u32, mut b: u32, mut c: u32, mut d: u32) -> u32 {
    let (mut x, mut y) = (X, Y);
    let mut hash = SEED ^ a ^ b ^ c ^ d;
    mix(&mut a, &mut b, &mut hash);
    mix(&mut c, &mut d, &mut hash);
    mix(&mut a, &mut x, &mut hash);
    mix(&mut y, &mut b, &mut hash);
    mix(&mut c, &mut x, &mut hash);
    mix(&mut y, &mut d, &mut hash);
    hash
}
