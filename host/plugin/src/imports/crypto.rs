//! `crypto`: authenticated encryption, with keys and payload that stay in the host.

use super::body::Held;
use super::budget::{BufferBudget, Charge};
use super::buffers::Buffer;
use super::types::to_wit;
use super::wit::crypto as wit;
use super::wit::types::Error as WitError;
use super::{interruptible, push, too_large, with};
use crate::instance::processor_time;
use crate::instance::{Budget, GuestState, HasGuest};
use bytes::{Bytes, BytesMut};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, Resource};
use zeroize::Zeroizing;

type Trap<T> = wasmtime::Result<T>;
type Answer<T> = Trap<Result<T, WitError>>;

/// Bytes of the tag at the end of what is sealed, for every cipher of the contract.
const TAG: usize = 16;

/// What is larger is done on a thread of its own. A processor does so much in a few tens of microseconds, about what
/// the way to another thread and back takes.
const INLINE: usize = 128 * 1024;

/// The resource `crypto.cipher`: "less safe" because the plugin counts the nonces, as its protocol says.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
pub struct Cipher {
    key: Arc<LessSafeKey>,
    _charge: Charge,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Plugin, text)
}

fn key(suite: wit::CipherSuite, key: &[u8]) -> Result<LessSafeKey, Error> {
    let algorithm = match suite {
        wit::CipherSuite::Aes128Gcm => &aead::AES_128_GCM,
        wit::CipherSuite::Aes256Gcm => &aead::AES_256_GCM,
        wit::CipherSuite::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
    };
    let wrong = |_| invalid(format!("a key of {} bytes; the cipher has {}", key.len(), algorithm.key_len()));
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(wrong)
}

fn nonce(bytes: &[u8]) -> Result<Nonce, Error> {
    let wrong = |_| invalid(format!("a nonce of {} bytes; it must have {}", bytes.len(), aead::NONCE_LEN));
    Nonce::try_assume_unique_for_key(bytes).map_err(wrong)
}

/// Encrypts in place, and appends the tag.
fn seal<B>(key: &LessSafeKey, with: Nonce, associated: &[u8], plain: &mut B) -> Result<(), Error>
where
    B: AsMut<[u8]> + for<'a> Extend<&'a u8>,
{
    key.seal_in_place_append_tag(with, Aad::from(associated), plain)
        .map_err(|_| invalid("more bytes than the cipher can encrypt with one nonce"))
}

/// Decrypts in place, and tells how many bytes it was.
fn open(key: &LessSafeKey, with: Nonce, associated: &[u8], sealed: &mut [u8]) -> Result<usize, Error> {
    let length = sealed.len();
    key.open_in_place(with, Aad::from(associated), sealed).map(|plain| plain.len()).map_err(|_| {
        let text = format!(
            "{length} encrypted bytes do not fit their tag: they were changed, or key and nonce are others"
        );
        Error::new(ErrorKind::Corrupt, Blame::Origin, text)
    })
}

/// What the asynchronous functions need of the guest's state.
struct Work {
    key: Arc<LessSafeKey>,
    nonce: Nonce,
    associated: Vec<u8>,
    input: Vec<Held>,
    buffers: Arc<BufferBudget>,
    budget: Arc<Budget>,
    turns: Arc<Semaphore>,
}

impl Work {
    fn prepare(
        state: &mut GuestState,
        cipher: &Resource<Cipher>,
        with: &[u8],
        associated: Vec<u8>,
        input: &[Resource<Buffer>],
    ) -> Trap<Result<Self, Error>> {
        let key = state.table.get(cipher)?.key.clone();
        let limits = &state.rights.limits;
        let mut lent = Vec::with_capacity(input.len());
        let mut total = TAG;
        for buffer in input {
            let held = state.table.get(buffer)?.held.clone();
            total += held.bytes.len();
            lent.push(held);
        }
        if associated.len() > limits.associated {
            let most = limits.associated;
            return Ok(Err(too_large(format_args!("more than {most} bytes of associated data"))));
        }
        if total > limits.buffer.saturating_add(2 * TAG) {
            let most = limits.buffer;
            return Ok(Err(too_large(format_args!(
                "{total} bytes for a buffer; at most {most} are allowed"
            ))));
        }
        let (buffers, budget) = (state.buffers.clone(), state.budget.clone());
        let turns = buffers.ciphers.clone();
        Ok(nonce(with).map(|nonce| Self { key, nonce, associated, input: lent, buffers, budget, turns }))
    }

    /// Copies the input to memory of its own, which is waited for, and lets `change` work there.
    async fn run(
        self,
        change: impl FnOnce(&LessSafeKey, Nonce, &[u8], &mut BytesMut) -> Result<(), Error> + Send + 'static,
    ) -> Result<Held, Error> {
        let Self { key, nonce, associated, input, buffers, budget, turns } = self;
        let length: usize = input.iter().map(|held| held.bytes.len()).sum();
        let charge = buffers.wait_to_convert(length + TAG).await?;
        let work = move || -> Result<Bytes, Error> {
            let mut bytes = BytesMut::with_capacity(length + TAG);
            input.iter().for_each(|held| bytes.extend_from_slice(&held.bytes));
            change(&key, nonce, &associated, &mut bytes)?;
            Ok(bytes.freeze())
        };
        let bytes = if length <= INLINE {
            let started = processor_time();
            let done = work();
            budget.spend(processor_time().saturating_sub(started));
            done?
        } else {
            let turn = turns.acquire_owned().await;
            let task = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                work()
            });
            let stopped = |e| Error::new(ErrorKind::Interrupted, Blame::Host, format!("it was stopped: {e}"));
            task.await.map_err(stopped)??
        };
        Ok(Held { bytes, charge: Some(Arc::new(charge)) })
    }
}

impl wit::Host for GuestState {}

impl wit::HostCipher for GuestState {
    fn create(&mut self, suite: wit::CipherSuite, bytes: Vec<u8>) -> Answer<Resource<Cipher>> {
        let bytes = Zeroizing::new(bytes);
        let made = key(suite, &bytes).and_then(|key| {
            let charge = self.buffers.keep(size_of::<LessSafeKey>())?;
            Ok(Cipher { key: Arc::new(key), _charge: charge })
        });
        match made {
            Ok(cipher) => Ok(push(self, cipher)?.map_err(to_wit)),
            Err(error) => Ok(Err(to_wit(error))),
        }
    }

    fn seal_bytes(
        &mut self,
        cipher: Resource<Cipher>,
        with: Vec<u8>,
        associated: Vec<u8>,
        mut plain: Vec<u8>,
    ) -> Answer<Vec<u8>> {
        let started = processor_time();
        let key = &self.table.get(&cipher)?.key;
        let sealed = nonce(&with).and_then(|nonce| seal(key, nonce, &associated, &mut plain));
        self.budget.spend(processor_time().saturating_sub(started));
        Ok(sealed.map(|()| plain).map_err(to_wit))
    }

    fn open_bytes(
        &mut self,
        cipher: Resource<Cipher>,
        with: Vec<u8>,
        associated: Vec<u8>,
        mut sealed: Vec<u8>,
    ) -> Answer<Vec<u8>> {
        let started = processor_time();
        let key = &self.table.get(&cipher)?.key;
        let opened = nonce(&with).and_then(|nonce| open(key, nonce, &associated, &mut sealed));
        self.budget.spend(processor_time().saturating_sub(started));
        Ok(opened
            .map(|length| {
                sealed.truncate(length);
                sealed
            })
            .map_err(to_wit))
    }

    fn drop(&mut self, cipher: Resource<Cipher>) -> Trap<()> {
        self.table.delete(cipher)?;
        Ok(())
    }
}

/// Runs it, and gives the guest a handle to what comes out.
async fn convert<T: Send + 'static>(
    acc: &Accessor<T, HasGuest>,
    work: Result<Work, Error>,
    change: impl FnOnce(&LessSafeKey, Nonce, &[u8], &mut BytesMut) -> Result<(), Error> + Send + 'static,
) -> Answer<Resource<Buffer>> {
    let work = match work {
        Ok(work) => work,
        Err(error) => return Ok(Err(to_wit(error))),
    };
    match interruptible(acc, work.run(change)).await.unwrap_or_else(|stopped| Err(stopped.error())) {
        Ok(held) => Ok(with(acc, |state| push(state, Buffer::new(held)))?.map_err(to_wit)),
        Err(error) => Ok(Err(to_wit(error))),
    }
}

impl<T: Send + 'static> wit::HostCipherWithStore<T> for HasGuest {
    async fn seal(
        acc: &Accessor<T, Self>,
        cipher: Resource<Cipher>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        plain: Vec<Resource<Buffer>>,
    ) -> Answer<Resource<Buffer>> {
        let work = with(acc, |state| Work::prepare(state, &cipher, &nonce, associated, &plain))?;
        convert(acc, work, seal).await
    }

    async fn open(
        acc: &Accessor<T, Self>,
        cipher: Resource<Cipher>,
        nonce: Vec<u8>,
        associated: Vec<u8>,
        sealed: Resource<Buffer>,
    ) -> Answer<Resource<Buffer>> {
        let work = with(acc, |state| Work::prepare(state, &cipher, &nonce, associated, &[sealed]))?;
        let change = |key: &LessSafeKey, nonce: Nonce, associated: &[u8], bytes: &mut BytesMut| {
            let length = open(key, nonce, associated, bytes)?;
            bytes.truncate(length);
            Ok(())
        };
        convert(acc, work, change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Seals, compares, opens again, and opens with each byte changed.
    fn check(suite: wit::CipherSuite, vector: [&str; 5]) {
        let [secret, iv, associated, plain, expected] = vector.map(hex);
        let key = key(suite, &secret).unwrap();
        let fresh = || nonce(&iv).unwrap();
        let mut bytes = plain.clone();
        seal(&key, fresh(), &associated, &mut bytes).unwrap();
        assert_eq!(bytes, expected);
        for at in 0..expected.len() {
            let mut changed = expected.clone();
            changed[at] ^= 1;
            let error = open(&key, fresh(), &associated, &mut changed).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Origin));
        }
        assert!(open(&key, fresh(), b"other", &mut expected.clone()).is_err());
        assert!(open(&key, fresh(), &associated, &mut expected[..15].to_vec()).is_err());
        let length = open(&key, fresh(), &associated, &mut bytes).unwrap();
        assert_eq!(bytes[..length], plain);
    }

    #[test]
    fn published_vectors() {
        // The GCM specification of McGrew and Viega, test cases 4 and 16.
        let associated = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
        let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
        check(
            wit::CipherSuite::Aes128Gcm,
            [
                "feffe9928665731c6d6a8f9467308308",
                "cafebabefacedbaddecaf888",
                associated,
                plain,
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
            ],
        );
        check(
            wit::CipherSuite::Aes256Gcm,
            [
                "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
                "cafebabefacedbaddecaf888",
                associated,
                plain,
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
            ],
        );
        // RFC 8439, section 2.8.2.
        check(
            wit::CipherSuite::Chacha20Poly1305,
            [
                "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
                "070000004041424344454647",
                "50515253c0c1c2c3c4c5c6c7",
                "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e",
                "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
            ],
        );
    }

    #[test]
    fn wrong_lengths_are_the_plugins_fault() {
        let error = key(wit::CipherSuite::Aes128Gcm, &[0; 32]).err().unwrap();
        assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin));
        assert!(error.message.contains("32 bytes") && error.message.contains("16"), "{error}");
        assert!(key(wit::CipherSuite::Aes256Gcm, &[0; 16]).is_err());
        for length in [0, 11, 13, 16] {
            assert_eq!(nonce(&vec![0; length]).err().unwrap().kind, ErrorKind::Invalid);
        }
    }
}
