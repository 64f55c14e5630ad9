use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

/// A file of an image by name; `None` is a symbolic link.
type Member<'a> = (&'a str, Option<&'a [u8]>);

/// A tar with these files.
fn tar(files: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        match content {
            Some(content) => {
                header.set_size(content.len() as u64);
                header.set_entry_type(EntryType::Regular);
                builder.append_data(&mut header, name, *content).unwrap();
            }
            None => {
                header.set_size(0);
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, name, "/etc/passwd").unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn search_in(limits: &Limits, path: Option<&str>, layers: &[(Vec<u8>, Packing)]) -> Result<Vec<u8>> {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("store")).unwrap();
    let mut search = Search::new(&store, path, limits);
    for (bytes, packing) in layers {
        search.layer(&bytes[..], *packing)?;
    }
    let sealed = search.finish()?;
    let mut bytes = Vec::new();
    sealed.reopen()?.read_to_end(&mut bytes).unwrap();
    assert_eq!(sealed.digest, wasmount_types::Digest::of(&bytes));
    Ok(bytes)
}

fn search(path: Option<&str>, layers: &[&[Member<'_>]]) -> Result<Vec<u8>> {
    let layers: Vec<_> = layers.iter().map(|files| (tar(files), Packing::Plain)).collect();
    search_in(&Limits::default(), path, &layers)
}

#[test]
fn the_only_component_in_whatever_packing() {
    let plain = tar(&[("./readme", Some(b"text")), ("./plugin.wasm", Some(b"\0asm"))]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    for (bytes, packing) in [
        (plain.clone(), Packing::Plain),
        (gzip.finish().unwrap(), Packing::Gzip),
        (compress_to_vec(&plain[..], CompressionLevel::Fastest), Packing::Zstd),
    ] {
        let found = search_in(&Limits::default(), None, &[(bytes.clone(), packing)]).unwrap();
        assert_eq!(found, b"\0asm", "{packing:?}");
        let torn = bytes[..bytes.len() / 2].to_vec();
        let error = search_in(&Limits::default(), None, &[(torn, packing)]).unwrap_err();
        assert!(error.message.contains("cannot be unpacked"), "{packing:?}: {error}");
    }
}

#[test]
fn later_layers_replace_and_take_away() {
    let old: &[_] = &[("a/p.wasm", Some(&b"old"[..]))];
    assert_eq!(search(None, &[old, &[("a/p.wasm", Some(b"new"))]]).unwrap(), b"new");
    assert_eq!(search(None, &[old, &[("a/.wh.p.wasm", Some(b"")), ("q.wasm", Some(b"q"))]]).unwrap(), b"q");
    assert_eq!(search(None, &[old, &[(".wh.a", Some(b"")), ("q.wasm", Some(b"q"))]]).unwrap(), b"q");
    assert_eq!(search(None, &[old, &[("a/.wh..wh..opq", Some(b"")), ("q.wasm", Some(b"q"))]]).unwrap(), b"q");
    assert_eq!(search(None, &[old, &[("ab/.wh..wh..opq", Some(b""))]]).unwrap(), b"old");
    // A link in place of the file takes it away and leads nowhere.
    assert!(search(None, &[old, &[("a/p.wasm", None)]]).unwrap_err().message.contains("no file *.wasm"));
}

#[test]
fn one_of_several_is_named() {
    let two: &[_] = &[("a.wasm", Some(&b"a"[..])), ("b.wasm", Some(b"b")), ("plain", Some(b"c"))];
    let error = search(None, &[two]).unwrap_err();
    assert!(
        error.message.contains("2 files *.wasm (a.wasm, b.wasm)") && error.message.contains("#path="),
        "{error}"
    );
    assert_eq!(search(Some("b.wasm"), &[two]).unwrap(), b"b");
    assert_eq!(search(Some("plain"), &[two]).unwrap(), b"c");
    assert!(search(Some("none"), &[two]).unwrap_err().message.contains("no file none"));
    assert!(search(Some("l"), &[&[("l", None)]]).unwrap_err().message.contains("not a regular file"));
}

#[test]
fn long_names() {
    let long = format!("{}/p.wasm", "directory/".repeat(20));
    assert_eq!(search(Some(&long), &[&[(&long, Some(b"x"))]]).unwrap(), b"x", "GNU");
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("mtime", &b"1.5"[..]), ("path", long.as_bytes())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    builder.append_data(&mut header, "truncated", &b"y"[..]).unwrap();
    let pax = builder.into_inner().unwrap();
    assert_eq!(search_in(&Limits::default(), Some(&long), &[(pax, Packing::Plain)]).unwrap(), b"y", "PAX");
}

#[test]
fn bombs() {
    let limits = Limits { plugin: 1000, image: 1 << 20, ..Limits::default() };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&tar(&[("x", Some(&vec![0; 4 << 20]))])).unwrap();
    let error = search_in(&limits, None, &[(gzip.finish().unwrap(), Packing::Gzip)]).unwrap_err();
    assert!(error.message.contains("larger, unpacked"), "{error}");
    let plain = |files: &[Member<'_>]| search_in(&limits, None, &[(tar(files), Packing::Plain)]);
    assert!(plain(&[("p.wasm", Some(&[0; 1001]))]).unwrap_err().message.contains("more than 1000 bytes"));
    let names: Vec<_> = (0..=CANDIDATES).map(|n| format!("{n}.wasm")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), Some(&b""[..]))).collect();
    assert!(plain(&many).unwrap_err().message.contains("more than 64 files"));
    // A GNU name of 100 KiB, which the library would have read whole, whatever its length.
    let name = vec![b'n'; 100 * 1024];
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &name[..]).unwrap();
    let error = search_in(&limits, None, &[(builder.into_inner().unwrap(), Packing::Plain)]).unwrap_err();
    assert!(error.message.contains("64 KiB"), "{error}");
}
