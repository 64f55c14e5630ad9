use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;

/// In front of the 65 bytes of a point: `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING` (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for Ed25519 (RFC 8410).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap()
}

fn pem(front: &[u8], key: &[u8]) -> String {
    let der = STANDARD.encode([front, key].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

fn keys(pem: &str) -> Result<Vec<PublicKey>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    PublicKey::read(file.path())
}

fn payload(kind: &str, digest: Digest) -> Vec<u8> {
    let text = serde_json::json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/s3"},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": kind
        },
        "optional": null
    });
    text.to_string().into_bytes()
}

fn layer(pair: &EcdsaKeyPair, payload: &[u8]) -> Descriptor {
    let signature = STANDARD.encode(pair.sign(&SystemRandom::new(), payload).unwrap());
    Descriptor {
        media_type: PAYLOAD.to_owned(),
        digest: Digest::of(payload),
        size: payload.len() as u64,
        annotations: BTreeMap::from([(SIGNATURE.to_owned(), signature)]),
        platform: None,
    }
}

#[test]
fn signatures_by_the_key_about_the_manifest_alone() {
    let (mine, other) = (pair(), pair());
    let both = pem(&P256, other.public_key().as_ref()) + &pem(&P256, mine.public_key().as_ref());
    let one = keys(&pem(&P256, mine.public_key().as_ref())).unwrap();
    let two = keys(&both).unwrap();
    assert_eq!(two.len(), 2);
    let manifest = Digest::of(b"manifest");
    let good = payload(KIND, manifest);
    assert_eq!(signer(&layer(&mine, &good), &good, manifest, &one).unwrap().fingerprint, one[0].fingerprint);
    assert_eq!(signer(&layer(&mine, &good), &good, manifest, &two).unwrap().fingerprint, one[0].fingerprint);
    assert!(signer(&layer(&other, &good), &good, manifest, &one).is_none(), "another key");
    assert!(signer(&layer(&mine, &good), &good, Digest::of(b"other"), &one).is_none(), "another manifest");
    let kind = payload("something else", manifest);
    assert!(signer(&layer(&mine, &kind), &kind, manifest, &one).is_none(), "not about an image");
    let mut changed = good.clone();
    changed[10] ^= 1;
    assert!(signer(&layer(&mine, &good), &changed, manifest, &one).is_none(), "changed");
    assert!(signer(&layer(&mine, b"{}"), b"{}", manifest, &one).is_none(), "no payload");
    for (annotation, value) in [("other", "x"), (SIGNATURE, "!"), (SIGNATURE, "")] {
        let annotations = BTreeMap::from([(annotation.to_owned(), value.to_owned())]);
        let layer = Descriptor { annotations, ..layer(&mine, &good) };
        assert!(signer(&layer, &good, manifest, &one).is_none(), "{annotation} {value}");
    }
}

#[test]
fn files_that_are_no_keys() {
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encrypted = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neHg=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    for (text, named) in [
        ("", "no public key"),
        (encrypted, "no public key"),
        (&pem(&P256, b"short"), "not ECDSA P-256"),
        (&pem(&ED25519, ed25519.public_key().as_ref()), "not ECDSA P-256"),
        ("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n", "not PEM"),
    ] {
        let error = keys(text).err().unwrap();
        assert!(error.message.contains("--plugin-key") && error.message.contains(named), "{error}");
    }
}
