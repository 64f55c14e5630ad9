//! Secrets on a real file system, laid out as the kubelet does it.

use super::*;
use crate::secrets::{Encoding, Hash};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tempfile::TempDir;

const PREFIX: &str = SecretsDir::PREFIX;

fn plain(files: &[(&str, &[u8])]) -> (TempDir, SecretsDir) {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let dir = SecretsDir::new(root.path());
    (root, dir)
}

/// Writes generation `number` of a Secret's volume, and moves `..data` to it as the kubelet does.
fn publish(volume: &Path, number: u32, files: &[(&str, &str)]) {
    let stamped = format!("..2026_01_0{number}");
    let fresh = volume.join(&stamped);
    fs::create_dir_all(&fresh).unwrap();
    for (name, content) in files {
        fs::write(fresh.join(name), content).unwrap();
        let visible = volume.join(name);
        if visible.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), visible).unwrap();
        }
    }
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(&stamped, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.reveal()).unwrap()
}

fn failure(result: Result<Secret>) -> Error {
    result.err().expect("refused")
}

#[test]
fn a_prefix_means_a_file_and_anything_else_is_literal() {
    let (_root, dir) = plain(&[("s/key", b"from file\n")]);
    assert_eq!(text(&dir.secret("secret-key", &format!("{PREFIX}s/key")).unwrap()), "from file");
    for literal in ["literal\n", "/etc/fluid/secret/s/key", "etc/fluid/secrets/s/key", "/etc/fluid/secrets"] {
        let secret = dir.secret("secret-key", literal).unwrap();
        assert_eq!(text(&secret), literal);
        assert_eq!(secret.generation(), 1);
    }
    assert_eq!(dir.text("endpoint", &format!("{PREFIX}s/key")).unwrap(), "from file");
    assert_eq!(dir.text("endpoint", "http://x").unwrap(), "http://x");
    assert_eq!(dir.content("ca", &format!("{PREFIX}s/key"), 100).unwrap(), b"from file\n");
    assert!(dir.content("ca", "literal", 100).is_err());
}

#[test]
fn only_one_trailing_newline_is_stripped() {
    let (_root, dir) =
        plain(&[("two", b"x\n\n"), ("space", b" x \n"), ("empty", b""), ("bytes", b"\xff\xfe")]);
    let secret = |name: &str| dir.secret("o", &format!("{PREFIX}{name}")).unwrap();
    assert_eq!(text(&secret("two")), "x\n");
    assert_eq!(text(&secret("space")), " x ");
    assert_eq!(text(&secret("empty")), "");
    assert_eq!(secret("bytes").reveal(), b"\xff\xfe");
    assert!(dir.text("o", &format!("{PREFIX}bytes")).unwrap_err().message.contains("UTF-8"));
}

#[test]
fn a_path_cannot_leave_the_directory() {
    let (root, dir) = plain(&[("a/key", b"inside")]);
    assert_eq!(text(&dir.secret("o", &format!("{PREFIX}a/./b/..//key")).unwrap()), "inside");
    for path in ["../x", "a/../../x", "..", "a/../../../../../../etc/passwd"] {
        let error = failure(dir.secret("secret-key", &format!("{PREFIX}{path}")));
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("secret-key") && error.message.contains("leads out"), "{error}");
    }
    // An absolute path behind the prefix is below the directory like any other.
    assert!(failure(dir.secret("o", &format!("{PREFIX}/etc/passwd"))).message.contains("cannot be read"));
    symlink("/etc/passwd", root.path().join("a/link")).unwrap();
    symlink("/etc", root.path().join("etc")).unwrap();
    for path in ["a/link", "etc/passwd"] {
        let error = failure(dir.secret("o", &format!("{PREFIX}{path}")));
        assert!(error.message.contains("leads out"), "{error}");
    }
}

#[test]
fn missing_large_and_odd_files_are_named() {
    let (root, dir) = plain(&[("s/big", &vec![b'x'; 64 * 1024 + 1]), ("s/fits", &vec![b'x'; 64 * 1024])]);
    let error = failure(dir.secret("access-key", &format!("{PREFIX}s/missing")));
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Host));
    assert!(error.message.contains("access-key") && error.message.contains("s/missing"), "{error}");
    assert!(error.message.contains("check that the Secret exists"), "{error}");
    assert!(failure(dir.secret("o", &format!("{PREFIX}s/big"))).message.contains("larger than 65536"));
    assert!(dir.secret("o", &format!("{PREFIX}s/fits")).is_ok());
    assert!(failure(dir.secret("o", &format!("{PREFIX}s"))).message.contains("not a regular file"));
    let pipe = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(failure(dir.secret("o", &format!("{PREFIX}pipe"))).message.contains("not a regular file"));
}

#[tokio::test]
async fn a_pair_never_mixes_two_generations() {
    let root = tempfile::tempdir().unwrap();
    let volume = root.path().join("s");
    publish(&volume, 1, &[("id", "id-1"), ("key", "key-1")]);
    let dir = SecretsDir::new(root.path());
    let id = dir.secret("access-key", &format!("{PREFIX}s/id")).unwrap();
    publish(&volume, 2, &[("id", "id-2"), ("key", "key-2")]);
    // Reading the second one brings the first to the same generation.
    let looked = std::time::Instant::now();
    let key = dir.secret("secret-key", &format!("{PREFIX}s/key")).unwrap();
    assert_eq!((text(&id), text(&key)), ("id-2".into(), "key-2".into()));
    assert_eq!((id.generation(), key.generation()), (2, 1));

    publish(&volume, 3, &[("id", "id-3"), ("key", "key-3")]);
    // Within a second nobody looks (a machine that took longer shows nothing)...
    let seen = (text(&id), text(&key), key.generation());
    if looked.elapsed() < Duration::from_secs(1) {
        assert_eq!(seen, ("id-2".into(), "key-2".into(), 1));
    }
    // ...unless the store refused it; and the pair moves together.
    assert_eq!(key.refresh(1).await.unwrap(), 2);
    assert_eq!((text(&id), text(&key)), ("id-3".into(), "key-3".into()));
    assert_eq!(key.refresh(2).await.unwrap(), 2, "nothing new");
    assert_eq!(key.refresh(1).await.unwrap(), 2, "somebody else was refused before");

    publish(&volume, 4, &[("id", "id-4"), ("key", "key-4")]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(id.generation(), 4);
    assert_eq!((text(&id), text(&key)), ("id-4".into(), "key-4".into()));
}

#[tokio::test]
async fn a_file_that_disappears_keeps_its_last_text() {
    let (root, dir) = plain(&[("s/key", b"first")]);
    let secret = dir.secret("secret-key", &format!("{PREFIX}s/key")).unwrap();
    fs::remove_file(root.path().join("s/key")).unwrap();
    let error = secret.refresh(1).await.unwrap_err();
    assert!(error.message.contains("secret-key"), "{error}");
    assert_eq!((text(&secret), secret.generation()), ("first".into(), 1));
    fs::write(root.path().join("s/key"), "second").unwrap();
    assert_eq!(secret.refresh(1).await.unwrap(), 2);
    assert_eq!(text(&secret), "second");
    let clone = secret.clone();
    drop(secret);
    assert_eq!(clone.generation(), 2);
}

#[test]
fn the_operator_may_name_any_file() {
    let (root, dir) = plain(&[("inside", b"x")]);
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("key");
    fs::write(&path, "operator\n").unwrap();
    assert_eq!(text(&dir.secret_at("secret-key", &path).unwrap()), "operator");
    drop(root);
}

#[tokio::test]
async fn every_live_secret_is_redacted() {
    let redactor = Redactor::new();
    let (root, _) = plain(&[("key", b"file-secret\n")]);
    let dir = SecretsDir::with_redactor(root.path(), redactor.clone());
    let file = dir.secret("a", &format!("{PREFIX}key")).unwrap();
    let literal = dir.secret("b", "literal-secret").unwrap();
    let longer = dir.secret("c", "literal-secret-and-more").unwrap();
    let short = dir.secret("d", "five5").unwrap();
    let line = "file-secret literal-secret literal-secret-and-more five5";
    assert_eq!(redactor.redact(line), "[redacted] [redacted] [redacted] five5");
    assert!(matches!(redactor.redact("nothing here"), std::borrow::Cow::Borrowed(_)));

    fs::write(root.path().join("key"), "changed-secret").unwrap();
    file.refresh(1).await.unwrap();
    assert_eq!(redactor.redact("changed-secret was file-secret"), "[redacted] was [redacted]");
    drop((literal, longer, short));
    assert_eq!(redactor.redact("literal-secret"), "literal-secret");
}

#[test]
fn a_literal_signs() {
    let dir = SecretsDir::new("/nowhere");
    let secret = dir.secret("secret-key", "fe").unwrap();
    let mac = secret.hmac(Hash::Sha1, Encoding::Raw, b"Je", b"what do ya want for nothing?").unwrap();
    assert_eq!(mac[..4], [0xef, 0xfc, 0xdf, 0x6a]);
    let error =
        dir.secret("account-key", "!").unwrap().hmac(Hash::Sha1, Encoding::Base64, b"", b"").unwrap_err();
    assert!(error.message.contains("account-key"), "{error}");
}
