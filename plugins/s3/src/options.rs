//! The option table.

use crate::address::{Address, Style};
use crate::credentials::plan::{self, Kind};
use crate::location::Location;
use wasmount_sdk::{Description, Error, Mount, Options, Result, Settings};

/// Methods that only read.
const READS: [&str; 2] = ["GET", "HEAD"];

/// Who the plugin is and what it takes.
pub fn description() -> Description {
    let options = plan::add_options(store_options());
    let summary = "S3, MinIO and compatible object stores";
    let mut description = Description::new("s3", env!("CARGO_PKG_VERSION"), summary)
        .scheme("s3")
        .scheme("minio")
        .options(options);
    for origin in [
        "https://s3.{region}.amazonaws.com",
        "https://s3.{region}.amazonaws.com.cn",
        "https://{mount-host}.s3.{region}.amazonaws.com",
        "https://{mount-host}.s3.{region}.amazonaws.com.cn",
        "https://{mount-host}.{endpoint}",
        "http://{mount-host}.{endpoint}",
    ] {
        description = description.origin_template(origin, &READS);
    }
    // A token service issues credentials by POST and changes nothing.
    for origin in ["https://sts.{region}.amazonaws.com", "https://sts.{region}.amazonaws.com.cn"] {
        description = description.origin_template(origin, &["POST"]);
    }
    // Sessions of the metadata service are opened by PUT. The host's policy refuses the address unless the operator allows it.
    description.origin_template("http://169.254.169.254", &["GET", "PUT"])
}

/// What is not about where credentials come from.
fn store_options() -> Options {
    Options::new()
        .endpoint(
            "endpoint",
            "Where the store listens, such as `http://minio:9000`; `https` unless it says `http`. Without it, the bucket is at AWS in the \
             region given. A path after the port is ignored with a warning.",
        )
        .alias("minio-url")
        .alias("url")
        .text(
            "region",
            "Region that requests are signed for; without `endpoint` also the one they go to. When it is wrong, the error names the \
             right one if the store tells.",
        )
        .default_value("us-east-1")
        .secret(
            "access-key",
            "Access key ID. It is part of each request in clear, so the plugin has to see it; it is a secret here because it is rotated \
             together with `secret-key`.",
        )
        .reveal()
        .alias("minio-access-key")
        .secret("secret-key", "Secret access key. It never leaves the host: the plugin gets signatures only.")
        .alias("minio-access-secret")
        .secret(
            "session-token",
            "Token that belongs to temporary credentials. S3 wants it in the signed part of each request, so the plugin has to see it. An \
             empty one counts as absent. Only the operator says where a token of the operator's is sent.",
        )
        .reveal()
        .sent_to(&["endpoint"])
        .alias("token")
        .boolean("anonymous", "The same as `credentials=anonymous`: requests without credentials, for public buckets. Keys are then ignored.")
        .default_value("false")
        .choice(
            "path-style",
            &["auto", "true", "false"],
            "How buckets are named in URLs: `true` for `endpoint/bucket`, `false` for `bucket.endpoint`, `auto` for `true` wherever \
             `endpoint` is set and at AWS for buckets that cannot be part of a host name.",
        )
        .default_value("auto")
        .boolean("request-payer", "Agree to pay for requests to requester-pays buckets; without it they answer `access denied`.")
        .default_value("false")
}

/// What follows from the options, but for the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bucket and prefix.
    pub location: Location,
    /// URLs.
    pub address: Address,
    /// Region to sign for.
    pub region: String,
    /// Where credentials come from.
    pub credentials: Kind,
    /// Pay for requests.
    pub request_payer: bool,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the settings of a mount.
    ///
    /// # Errors
    /// `invalid`, naming the option and what to change.
    pub fn new(mount: &Mount) -> Result<Self> {
        Self::from_settings(mount.location(), &mount.settings)
    }

    fn from_settings(location: &str, settings: &Settings) -> Result<Self> {
        let location = Location::parse(location)?;
        let region = settings.text("region")?.to_owned();
        let endpoint = settings.optional_endpoint("endpoint")?;
        let style = Style::choose(settings.text("path-style")?, endpoint.is_some(), &location.bucket);
        let address = Address::new(&location.bucket, &region, endpoint, style)?;
        let mut warnings = Vec::new();
        if let Some(endpoint) = endpoint.filter(|endpoint| !matches!(endpoint.path.as_str(), "" | "/")) {
            warnings.push(format!(
                "what follows {} in option endpoint is ignored ({:?}): a bucket is named by mountPoint",
                endpoint.origin(),
                endpoint.path
            ));
        }
        Ok(Self {
            location,
            address,
            region,
            credentials: Kind::choose(settings)?,
            request_payer: settings.boolean("request-payer")?,
            warnings,
        })
    }

    /// Names the data: the same whatever the credentials and the style of URLs.
    pub fn identity(&self) -> String {
        format!("s3 {} {}/{}", self.address.endpoint, self.location.bucket, self.location.prefix)
    }

    /// One line for people.
    pub fn title(&self) -> String {
        let Location { bucket, prefix } = &self.location;
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{bucket}{slash}{prefix} on {}", self.address.endpoint)
    }
}

/// Why a mount without a pair of keys is refused.
pub fn missing_keys(access: bool, secret: bool) -> Error {
    let what = match (access, secret) {
        (true, false) => "option secret-key is missing although access-key is set",
        (false, true) => "option access-key is missing although secret-key is set",
        _ => "options access-key and secret-key are missing",
    };
    Error::invalid(format!(
        "{what}: set both, or anonymous=true for a public bucket, or option credentials to where else they come from"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::{Endpoint, OptionKind, OptionSetting, OptionValue};

    fn settings(endpoint: Option<&str>, path_style: &str) -> Settings {
        let setting = |name: &str, value| OptionSetting { name: name.into(), value, explicit: true };
        let mut all = vec![
            setting("region", OptionValue::Text("eu-1".into())),
            setting("path-style", OptionValue::Text(path_style.into())),
            setting("anonymous", OptionValue::Boolean(false)),
            setting("credentials", OptionValue::Text("auto".into())),
            setting("request-payer", OptionValue::Boolean(false)),
        ];
        if let Some(path) = endpoint {
            let own = Endpoint { protocol: "http".into(), host: "own".into(), port: 9000, path: path.into() };
            all.push(setting("endpoint", OptionValue::Endpoints(vec![own])));
        }
        all.into_iter().collect()
    }

    #[test]
    fn every_name_of_the_old_datasets_is_known() {
        let names: Vec<String> = description()
            .options
            .into_iter()
            .flat_map(|spec| [spec.aliases, vec![spec.name]].concat())
            .collect();
        for name in [
            "minio-url",
            "minio-access-key",
            "minio-access-secret",
            "endpoint",
            "access-key",
            "secret-key",
            "token",
            "region",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn what_need_not_be_seen_is_never_revealed() {
        let hidden = ["secret-key", "container-authorization-token"];
        for spec in description().options {
            if let OptionKind::Secret(rule) = spec.kind {
                assert_eq!(rule.reveal, !hidden.contains(&&*spec.name), "{}", spec.name);
            }
        }
    }

    #[test]
    fn only_token_and_metadata_services_are_written_to() {
        let writes = |methods: &[String]| methods.iter().any(|method| !READS.contains(&&**method));
        let description = description();
        let templates =
            description.network.templates.iter().filter(|template| writes(&template.read_methods));
        let options = description.options.iter().filter_map(|spec| match &spec.kind {
            OptionKind::Endpoint(rule) if writes(&rule.read_methods) => Some(spec.name.as_str()),
            _ => None,
        });
        let all: Vec<_> = templates.map(|template| template.origin.as_str()).chain(options).collect();
        assert_eq!(
            all,
            [
                "https://sts.{region}.amazonaws.com",
                "https://sts.{region}.amazonaws.com.cn",
                "http://169.254.169.254",
                "sts-endpoint",
                "instance-metadata"
            ]
        );
    }

    #[test]
    fn what_follows_the_endpoint_is_ignored_with_a_warning() {
        let config = Config::from_settings("bucket-a/prefix", &settings(Some("/some/path"), "auto")).unwrap();
        assert_eq!(config.address.object("prefix/k"), "http://own:9000/bucket-a/prefix/k");
        assert!(config.warnings[0].contains("http://own:9000") && config.warnings[0].contains("/some/path"));
        assert_eq!(config.title(), "bucket-a/prefix/ on http://own:9000");
        assert!(Config::from_settings("b", &settings(Some("/"), "auto")).unwrap().warnings.is_empty());
    }

    #[test]
    fn the_identity_does_not_depend_on_the_style() {
        let identity = |style| Config::from_settings("b/p", &settings(Some(""), style)).unwrap().identity();
        assert_eq!(identity("true"), identity("false"));
        assert_ne!(
            identity("true"),
            Config::from_settings("b", &settings(Some(""), "true")).unwrap().identity()
        );
        assert_ne!(
            identity("true"),
            Config::from_settings("b/p", &settings(None, "true")).unwrap().identity()
        );
    }

    #[test]
    fn missing_keys_name_the_option() {
        assert!(
            missing_keys(false, false).message.starts_with("options access-key and secret-key are missing")
        );
        assert!(missing_keys(true, false).message.starts_with("option secret-key is missing"));
        assert!(missing_keys(false, true).message.starts_with("option access-key is missing"));
    }
}
