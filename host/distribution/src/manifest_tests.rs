use super::*;
use serde_json::{Value, json};

fn descriptor(media_type: &str, byte: u8) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(&[byte]).to_string(), "size": byte})
}

fn manifest(layers: &[Value]) -> Manifest {
    let value = json!({"schemaVersion": 2, "config": descriptor("application/x", 0), "layers": layers});
    match read(value.to_string().as_bytes()).unwrap() {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => panic!("an index"),
    }
}

#[test]
fn components_and_images() {
    for kind in [WASM_LAYER, SPIN_LAYER] {
        let content = manifest(&[descriptor("text/plain", 1), descriptor(kind, 2)]).content(None).unwrap();
        assert!(matches!(content, Content::Wasm(layer) if layer.size == 2));
    }
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let layers =
        [descriptor(oci, 1), descriptor(&format!("{oci}+gzip"), 2), descriptor(&format!("{oci}+zstd"), 3)];
    let Content::Image(layers) = manifest(&layers).content(None).unwrap() else { panic!("no image") };
    let packings: Vec<_> = layers.iter().map(|(_, packing)| *packing).collect();
    assert_eq!(packings, [Packing::Plain, Packing::Gzip, Packing::Zstd]);
    let helm =
        manifest(&[descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", 1)]).content(None);
    assert!(helm.unwrap_err().message.contains("helm"));
    assert!(manifest(&[]).content(None).unwrap_err().message.contains("no layers"));
}

#[test]
fn one_of_several_components() {
    let mut titled = descriptor(WASM_LAYER, 1);
    titled["annotations"] = json!({TITLE: "s3.wasm"});
    let two = manifest(&[titled, descriptor(WASM_LAYER, 2)]);
    assert!(two.content(None).unwrap_err().message.contains("2 of its 2 components"));
    assert!(matches!(two.content(Some("s3.wasm")).unwrap(), Content::Wasm(layer) if layer.size == 1));
    assert!(two.content(Some("other.wasm")).unwrap_err().message.contains("0 of its 2"));
}

#[test]
fn what_is_no_manifest() {
    let many: Vec<_> = (0..=DESCRIPTORS).map(|_| descriptor(WASM_LAYER, 1)).collect();
    let sha512 = json!({"mediaType": "x", "digest": format!("sha512:{}", "0".repeat(128)), "size": 1});
    for (value, named) in [
        (json!([]), "neither"),
        (json!({"layers": [], "manifests": []}), "both"),
        (json!({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
        (json!({"schemaVersion": 2, "layers": []}), "config"),
        (json!({"manifests": many}), "257"),
        (json!({"manifests": [sha512]}), "sha256:"),
    ] {
        let error = read(value.to_string().as_bytes()).unwrap_err();
        assert!(error.message.contains(named), "{error}");
    }
    read(b"\xff").unwrap_err();
}

#[test]
fn the_entry_for_us() {
    let entry = |os: &str, architecture: &str, byte| {
        let mut entry = descriptor(MANIFEST, byte);
        entry["platform"] = json!({"os": os, "architecture": architecture});
        entry
    };
    let choose = |entries: &[Value]| -> Result<u64> {
        match read(json!({"manifests": entries}).to_string().as_bytes())? {
            Document::Index(index) => index.choose().map(|entry| entry.size),
            Document::Manifest(_) => panic!("a manifest"),
        }
    };
    let all = [
        entry("linux", "amd64", 1),
        entry("linux", "arm64", 2),
        entry("windows", "amd64", 3),
        entry("linux", "arm64", 4),
    ];
    assert_eq!(choose(&all).unwrap(), if cfg!(target_arch = "x86_64") { 1 } else { 2 });
    assert_eq!(choose(&[entry("linux", "amd64", 1), entry("wasip2", "wasm", 2)]).unwrap(), 2);
    assert_eq!(choose(&[entry("linux", "s390x", 7)]).unwrap(), 7);
    let mut attestation = entry("unknown", "unknown", 8);
    attestation["annotations"] = json!({ATTESTATION: "attestation-manifest"});
    assert_eq!(choose(&[descriptor(MANIFEST, 9), attestation]).unwrap(), 9);
    assert!(
        choose(&[entry("linux", "s390x", 1), entry("linux", "riscv64", 2)])
            .unwrap_err()
            .message
            .contains("index of 2")
    );
    choose(&[]).unwrap_err();
}
