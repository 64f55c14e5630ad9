//! What only S3 puts into the headers of an object.

use wasmount_sdk::Pair;

/// Prefix of the headers that carry user metadata.
const METADATA: &str = "x-amz-meta-";

/// User metadata, names in lower case and without the store's prefix.
pub fn metadata(headers: &[Pair]) -> Vec<Pair> {
    let name = |header: &Pair| header.name.strip_prefix(METADATA).map(str::to_ascii_lowercase);
    headers
        .iter()
        .filter_map(|header| Some(Pair { name: name(header)?, value: header.value.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_loses_the_prefix() {
        let all = [("x-amz-meta-Mode", "33188"), ("x-amz-request-id", "1"), ("content-type", "text/plain")]
            .map(|(name, value)| Pair { name: name.into(), value: value.into() });
        let metadata = metadata(&all);
        assert_eq!(metadata.len(), 1);
        assert_eq!((metadata[0].name.as_str(), metadata[0].value.as_str()), ("mode", "33188"));
    }
}
