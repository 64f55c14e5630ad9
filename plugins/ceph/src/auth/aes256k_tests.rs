//! The test vectors of RFC 8009, appendix A, for aes256-cts-hmac-sha384-192.

use super::*;

const BASE: &str = "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn keys_are_derived_as_in_the_rfc() {
    let base = hex(BASE);
    assert_eq!(
        derive::<KEY>(&base, 2, Purpose::Encryption).to_vec(),
        hex("56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49")
    );
    assert_eq!(
        derive::<MAC>(&base, 2, Purpose::Integrity).to_vec(),
        hex("69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f")
    );
}

#[test]
fn texts_of_every_shape_are_sealed_as_in_the_rfc() {
    let vectors = [
        (
            "",
            "f764e9fa15c276478b2c7d0c4e5f58e4",
            "41f53fa5bfe7026d91faf9be959195a058707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c",
        ),
        (
            "000102030405",
            "b80d3251c1f6471494256ffe712d0b9a",
            "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
        ),
        (
            "000102030405060708090a0b0c0d0e0f",
            "53bf8a0d105265d4e276428624ce5e63",
            "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f68cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
        ),
        (
            "000102030405060708090a0b0c0d0e0f1011121314",
            "763e65367e864f02f55153c7e3b58af1",
            "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
        ),
    ];
    let base = hex(BASE);
    for (plain, confounder, sealed) in vectors {
        let confounder = hex(confounder).try_into().unwrap();
        assert_eq!(seal(&base, 2, &confounder, &hex(plain)), hex(sealed), "{plain}");
        assert_eq!(open(&base, 2, &hex(sealed)).unwrap().as_slice(), hex(plain), "{plain}");
    }
}

#[test]
fn any_length_comes_back_and_any_change_is_noticed() {
    let base = hex(BASE);
    for length in 0..70 {
        let plain: Vec<u8> = (0..length).collect();
        let mut sealed = seal(&base, 0x10, &[7; CONFOUNDER], &plain);
        assert_eq!(sealed.len(), plain.len() + CONFOUNDER + MAC);
        assert_eq!(open(&base, 0x10, &sealed).unwrap().as_slice(), plain);
        assert!(open(&base, 0x11, &sealed).is_none(), "another usage");
        let at = usize::from(length) * 7 % sealed.len();
        sealed[at] ^= 1;
        assert!(open(&base, 0x10, &sealed).is_none(), "byte {at} of {length}");
    }
    for short in 0..CONFOUNDER + MAC {
        assert!(open(&base, 0x10, &vec![0; short]).is_none());
    }
}
