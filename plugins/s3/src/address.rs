//! Where requests go: the endpoint and the two ways to name a bucket there.

use wasmount_sdk::{Endpoint, Error, Result, percent};

/// How a bucket is named in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `https://endpoint/bucket/key`, what MinIO and most compatible stores expect.
    Path,
    /// `https://bucket.endpoint/key`, what AWS prefers.
    VirtualHosted,
}

impl Style {
    /// The style for the value of option `path-style`. `auto` is path style at endpoints of one's own, and virtual-hosted at
    /// AWS if the bucket can be part of a host name there.
    pub fn choose(path_style: &str, custom_endpoint: bool, bucket: &str) -> Self {
        match path_style {
            "true" => Self::Path,
            "false" => Self::VirtualHosted,
            // A dot in the bucket makes a host name that the wildcard certificate of AWS does not cover.
            _ if custom_endpoint || !is_label(bucket) => Self::Path,
            _ => Self::VirtualHosted,
        }
    }
}

/// The URLs of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The endpoint without the bucket, for messages and for naming the data.
    pub endpoint: String,
    /// `http://127.0.0.1:9000/bucket` or `https://bucket.s3.eu-west-1.amazonaws.com`: never ends in a slash.
    base: String,
    style: Style,
}

impl Address {
    /// The address of a bucket at an endpoint, by default AWS's own in that region.
    ///
    /// # Errors
    /// `invalid`: a region that is not one, or a bucket that cannot be part of a host name although it has to.
    pub fn new(bucket: &str, region: &str, endpoint: Option<&Endpoint>, style: Style) -> Result<Self> {
        if !is_label(region) {
            return Err(Error::invalid(format!(
                "option region is {region:?}: a region is made of lower case letters, digits and hyphens, such as eu-west-1"
            )));
        }
        let (protocol, authority) = match endpoint {
            Some(endpoint) => (endpoint.protocol.as_str(), endpoint.authority()),
            None => ("https", aws_host("s3", region)),
        };
        let base = match style {
            Style::Path => format!("{protocol}://{authority}/{}", percent::encode(bucket)),
            Style::VirtualHosted => {
                let host = endpoint.map_or("", |endpoint| endpoint.host.as_str());
                if !is_host_name(bucket) || host.parse::<std::net::IpAddr>().is_ok() {
                    return Err(Error::invalid(format!(
                        "bucket {bucket} cannot be part of the host name {authority}: set option path-style to true or auto"
                    )));
                }
                format!("{protocol}://{bucket}.{authority}")
            }
        };
        Ok(Self { endpoint: format!("{protocol}://{authority}"), base, style })
    }

    /// The URL of an object, by the store's key.
    pub fn object(&self, key: &str) -> String {
        let mut url = String::with_capacity(self.base.len() + 1 + key.len() * 3 / 2);
        url.push_str(&self.base);
        url.push('/');
        percent::encode_path_into(&mut url, key);
        url
    }

    /// The URL of a request to the bucket itself. Parameters come in the order of their names, as signatures want them.
    pub fn bucket(&self, parameters: &[(&str, Option<&str>)]) -> String {
        let mut url = self.base.clone();
        if self.style == Style::VirtualHosted {
            url.push('/');
        }
        let mut separator = '?';
        for (name, value) in parameters {
            if let Some(value) = value {
                url.push(separator);
                url.push_str(name);
                url.push('=');
                percent::encode_into(&mut url, value);
                separator = '&';
            }
        }
        url
    }
}

/// AWS's endpoint of a service in a region; those in China have a domain of their own.
pub(crate) fn aws_host(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{service}.{region}.amazonaws.com{suffix}")
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_host_name(text: &str) -> bool {
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(protocol: &str, host: &str, port: u16) -> Endpoint {
        Endpoint { protocol: protocol.into(), host: host.into(), port, path: String::new() }
    }

    #[test]
    fn auto_is_virtual_hosted_only_at_aws() {
        assert_eq!(Style::choose("auto", false, "bucket"), Style::VirtualHosted);
        assert_eq!(Style::choose("auto", false, "buc.ket"), Style::Path);
        assert_eq!(Style::choose("auto", false, "Old_Bucket"), Style::Path);
        assert_eq!(Style::choose("auto", true, "bucket"), Style::Path);
        assert_eq!(Style::choose("true", false, "bucket"), Style::Path);
        assert_eq!(Style::choose("false", true, "bucket"), Style::VirtualHosted);
    }

    #[test]
    fn urls_of_both_styles() {
        let minio = endpoint("http", "minio", 9000);
        let path = Address::new("b", "us-east-1", Some(&minio), Style::Path).unwrap();
        assert_eq!(path.object("a b/+%?.txt"), "http://minio:9000/b/a%20b/%2B%25%3F.txt");
        assert_eq!(path.bucket(&[("list-type", Some("2"))]), "http://minio:9000/b?list-type=2");
        assert_eq!(path.endpoint, "http://minio:9000");

        let virtual_hosted = Address::new("b", "us-east-1", Some(&minio), Style::VirtualHosted).unwrap();
        assert_eq!(virtual_hosted.object("/k"), "http://b.minio:9000//k");
        assert_eq!(virtual_hosted.bucket(&[("a", None), ("b", Some("/"))]), "http://b.minio:9000/?b=%2F");

        let aws = Address::new("b", "eu-west-1", None, Style::VirtualHosted).unwrap();
        assert_eq!(aws.object("k"), "https://b.s3.eu-west-1.amazonaws.com/k");
        let china = Address::new("b", "cn-north-1", None, Style::Path).unwrap();
        assert_eq!(china.object("k"), "https://s3.cn-north-1.amazonaws.com.cn/b/k");
    }

    #[test]
    fn what_cannot_be_a_host_name_is_refused() {
        for address in ["127.0.0.1", "::1"] {
            let error = Address::new("b", "r", Some(&endpoint("http", address, 80)), Style::VirtualHosted)
                .unwrap_err();
            assert!(error.message.contains("path-style"), "{}", error.message);
        }
        assert!(Address::new("Old_Bucket", "r", None, Style::VirtualHosted).is_err());
        for region in ["", "evil.com/", "EU", "-"] {
            assert!(
                Address::new("b", region, None, Style::Path).unwrap_err().message.contains("option region"),
                "{region}"
            );
        }
    }
}
