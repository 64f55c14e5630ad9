use super::*;
use crate::address::{Address, Style};
use wasmount_sdk::{Endpoint, ErrorKind};

fn location(prefix: &str) -> Location {
    Location { bucket: "b".into(), prefix: prefix.into() }
}

fn page(document: &str, prefix: &str) -> Result<ListPage> {
    Ok(parse(document, &location(prefix), None)?.page)
}

fn wrap(inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inside}</ListBucketResult>"
    )
}

/// What MinIO answers, with fields this plugin does not know.
const FULL: &str = "<Name>b</Name><Prefix>p%2F</Prefix><NextContinuationToken>tok/+=</NextContinuationToken><KeyCount>3</KeyCount>\
    <MaxKeys>3</MaxKeys><Delimiter>%2F</Delimiter><IsTruncated>true</IsTruncated>\
    <Contents><Key>p%2F</Key><LastModified>2024-02-29T00:00:00.000Z</LastModified><Size>0</Size></Contents>\
    <Contents><Key>p/a+b%2B%25%E4%B8%AD%01&amp;</Key><LastModified>2024-02-29T00:00:00.000Z</LastModified>\
    <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><Size>5</Size><Owner><ID>Key</ID><DisplayName/></Owner>\
    <StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>\
    <CommonPrefixes><Prefix>p%2Fsub+dir%2F</Prefix></CommonPrefixes><EncodingType>url</EncodingType>";

#[test]
fn reads_a_full_page() {
    let page = page(&wrap(FULL), "p/").unwrap();
    assert_eq!(page.objects.len(), 1, "the marker of the mount's own directory is left out");
    let object = &page.objects[0];
    assert_eq!(object.key, "a b+%中\u{1}&");
    assert_eq!(object.size, 5);
    assert_eq!(object.version.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e-2"));
    assert_eq!(object.modified.map(|time| time.seconds), Some(1_709_164_800));
    assert_eq!(page.prefixes, ["sub dir/"]);
    assert_eq!(page.next.as_deref(), Some("tok/+="));
}

#[test]
fn keys_are_literal_without_encoding_type() {
    let page = page(&wrap("<Contents><Key>a+b%41</Key><Size>1</Size></Contents>"), "").unwrap();
    assert_eq!(page.objects[0].key, "a+b%41");
    assert!(page.objects[0].version.is_none() && page.next.is_none());
}

#[test]
fn servers_that_only_claim_to_encode_are_found_out() {
    for key in ["report 100%41.txt", "été+%41", "50%", "%4", "%zz+"] {
        let document = format!(
            "<EncodingType>url</EncodingType><Contents><Key>a%41+</Key><Size>1</Size></Contents>\
             <Contents><Key>{key}</Key><Size>1</Size></Contents>"
        );
        let page = page(&wrap(&document), "").unwrap();
        assert_eq!((page.objects[0].key.as_str(), page.objects[1].key.as_str()), ("a%41+", key));
    }
}

#[test]
fn names_that_are_not_utf8_are_left_out_and_counted() {
    let document = wrap(
        "<EncodingType>url</EncodingType><Contents><Key>%B8</Key><Size>1</Size></Contents>\
         <Contents><Key>a</Key><Size>1</Size></Contents><CommonPrefixes><Prefix>%FF/</Prefix></CommonPrefixes>",
    );
    let listed = parse(&document, &location(""), None).unwrap();
    assert_eq!((listed.page.objects.len(), listed.page.prefixes.len(), listed.unreadable), (1, 0, 2));
}

#[test]
fn an_empty_page_is_no_error() {
    let page = page(&wrap("<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"), "").unwrap();
    assert!(page.objects.is_empty() && page.prefixes.is_empty() && page.next.is_none());
}

#[test]
fn every_truncation_is_corrupt() {
    let document = wrap(FULL);
    for length in (0..document.len()).filter(|length| document.is_char_boundary(*length)) {
        assert_eq!(page(&document[..length], "p/").unwrap_err().kind, ErrorKind::Corrupt, "{length}");
    }
}

#[test]
fn lies_are_corrupt() {
    for bad in [
        "<Contents><Size>1</Size></Contents>",
        "<Contents><Key>p/a</Key></Contents>",
        "<Contents><Key>p/a</Key><Size>-1</Size></Contents>",
        "<Contents><Key>p/a</Key><Size>99999999999999999999</Size></Contents>",
        "<Contents><Key>elsewhere</Key><Size>1</Size></Contents>",
        "<CommonPrefixes><Prefix>elsewhere/</Prefix></CommonPrefixes>",
        "<IsTruncated>true</IsTruncated>",
    ] {
        assert_eq!(page(&wrap(bad), "p/").unwrap_err().kind, ErrorKind::Corrupt, "{bad}");
    }
    assert!(page("<html><body/></html>", "").unwrap_err().message.contains("<html>"));
}

#[test]
fn a_position_that_leads_nowhere_is_corrupt() {
    let document = wrap("<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>");
    assert!(parse(&document, &location(""), Some("other")).is_ok());
    assert_eq!(parse(&document, &location(""), Some("same")).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn asks_for_what_is_wanted() {
    let endpoint = Endpoint { protocol: "http".into(), host: "h".into(), port: 9000, path: String::new() };
    let address = Address::new("b", "us-east-1", Some(&endpoint), Style::Path).unwrap();
    let request = |start_after: Option<&str>, continuation: Option<&str>, limit| ListRequest {
        prefix: "d/".into(),
        delimiter: Some("/".into()),
        start_after: start_after.map(Into::into),
        continuation: continuation.map(Into::into),
        limit,
    };
    assert_eq!(
        url(&address, &location("p/"), &request(Some("d/a b"), None, 7)),
        "http://h:9000/b?delimiter=%2F&encoding-type=url&list-type=2&max-keys=7&prefix=p%2Fd%2F&start-after=p%2Fd%2Fa%20b"
    );
    assert_eq!(
        url(&address, &location(""), &request(None, Some("x/+="), 5000)),
        "http://h:9000/b?continuation-token=x%2F%2B%3D&delimiter=%2F&encoding-type=url&list-type=2&max-keys=1000&prefix=d%2F"
    );
}
