//! What the README shows must be what is there.

use anyhow::Result;
use wasmount_tests::paths::repository;

#[test]
fn the_example_plugin_in_the_readme_is_the_one_that_is_built() -> Result<()> {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    for file in ["Cargo.toml", "src/lib.rs"] {
        let text = std::fs::read_to_string(repository().join("guest-sdk/examples/static-site").join(file))?;
        assert!(readme.contains(text.trim()), "README.md does not show {file} of the example as it is now");
    }
    Ok(())
}

#[test]
fn the_example_in_images_is_the_one_in_the_readme() -> Result<()> {
    let profile = std::fs::read_to_string(repository().join("images/examples/minio/profile.yaml"))?;
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    for line in ["fileSystemType: fuse.wasmount", "--plugin=/plugins/s3.wasm"] {
        assert!(profile.contains(line) && readme.contains(line), "{line}");
    }
    Ok(())
}
