//! The options that are wasmount's own, whatever the plugin.
//!
//! They are taken out of the list; what is left is the plugin's. `_` and `-` mean the same in their names, because
//! `mount(8)` writes `allow_other`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use wasmount_core::objects::{Consistency, ObjectFsConfig};
use wasmount_net::{PemSource, ProxySettings, SecretsDir, TlsSettings};
use wasmount_plugin::{OptionInput, OptionSource};
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// Deadline of an operation without `request-timeout`.
pub(crate) const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Options that say what is true here anyway, or that only the kernel's own file systems have a use for.
const ACCEPTED: [&str; 16] = [
    "allow-other",
    "default-permissions",
    "ro",
    "nosuid",
    "nodev",
    "suid",
    "dev",
    "exec",
    "atime",
    "noatime",
    "relatime",
    "auto",
    "noauto",
    "nofail",
    "-netdev",
    "defaults",
];

/// wasmount's options of one mount.
#[derive(Clone)]
pub(crate) struct HostOptions {
    /// How it looks as a file system.
    pub(crate) files: ObjectFsConfig,
    /// Deadline of an operation (`request-timeout`).
    pub(crate) request_timeout: Duration,
    /// Certificates and proxy.
    pub(crate) tls: TlsSettings,
    /// `rw` or `ro` was asked for.
    pub(crate) wants_writing: Option<bool>,
    /// What all this was read from: of each option the one that holds.
    pub(crate) written: Vec<OptionInput>,
}

/// Takes wasmount's options out of `options` (weak ones first); the rest is the plugin's.
///
/// # Errors
/// `invalid`, blame `caller`: a malformed value, or one that only the operator may set. Names key and remedy.
pub(crate) fn take(options: Vec<OptionInput>, secrets: &Path) -> Result<(HostOptions, Vec<OptionInput>)> {
    let mut host = HostOptions {
        files: ObjectFsConfig::default(),
        request_timeout: DEFAULT_REQUEST_TIMEOUT,
        tls: TlsSettings { proxy: ProxySettings::from_env()?, ..TlsSettings::default() },
        wants_writing: None,
        written: Vec::new(),
    };
    // Weak ones come first, so the last one of a name counts; those it replaces do not, not even as mistakes.
    let last: BTreeMap<String, &OptionInput> = options.iter().map(|option| (plain(option), option)).collect();
    let mut own = BTreeSet::new();
    for option in &options {
        let name = plain(option);
        let counts = last.get(&name).is_some_and(|last| std::ptr::eq(*last, option));
        if counts && host.set(&name, option, secrets)? {
            host.written.push(option.clone());
            own.insert(name);
        }
    }
    let rest = options.into_iter().filter(|option| !own.contains(&plain(option))).collect();
    Ok((host, rest))
}

/// The plugin to use when `mountPoint` has no scheme (`type`): a scheme that it serves, or its name. Asked before the options are taken, since some of them may be
/// written for this plugin alone.
pub(crate) fn kind(options: &[OptionInput]) -> Option<String> {
    let last = options.iter().rev().find(|option| plain(option) == "type")?;
    Some(last.value.trim().to_ascii_lowercase()).filter(|kind| !kind.is_empty())
}

fn plain(option: &OptionInput) -> String {
    option.name.replace('_', "-").to_ascii_lowercase()
}

impl HostOptions {
    /// The options by which other servers are believed than those that public authorities vouch for, and who wrote each.
    pub(crate) fn trust(&self) -> Vec<(String, OptionSource)> {
        let weighs = |name: &str| match name {
            "ca-file" => true,
            "insecure-skip-verify" => self.tls.insecure_skip_verify,
            _ => false,
        };
        let named = self.written.iter().map(|option| (plain(option), option.source));
        named.filter(|(name, _)| weighs(name)).collect()
    }

    /// False if the option is not one of ours.
    fn set(&mut self, name: &str, option: &OptionInput, secrets: &Path) -> Result<bool> {
        let value = option.value.trim();
        match name {
            "uid" => self.files.uid = id(option, value)?,
            "gid" => self.files.gid = id(option, value)?,
            "file-mode" => self.files.file_mode = mode(option, value)?,
            "dir-mode" => self.files.dir_mode = mode(option, value)?,
            "attr-ttl" => self.files.attr_ttl = duration(option, value)?,
            "negative-ttl" => self.files.negative_ttl = duration(option, value)?,
            "consistency" => self.files.consistency = consistency(option, value)?,
            "request-timeout" => {
                let timeout = duration(option, value)?;
                if timeout < Duration::from_millis(100) || timeout > Duration::from_secs(3600) {
                    return Err(wrong(option, "it must lie between 100ms and 1h"));
                }
                self.request_timeout = timeout;
            }
            // [`kind`] has asked for it.
            "type" => {}
            "ca-file" => self.tls.ca_file = Some(pem(option, secrets)?),
            "client-cert" => self.tls.client_cert = Some(pem(option, secrets)?),
            "client-key" => self.tls.client_key = Some(pem(option, secrets)?),
            "insecure-skip-verify" => self.tls.insecure_skip_verify = boolean(option, value)?,
            "https-proxy" => {
                operator_only(option)?;
                self.tls.proxy = self.tls.proxy.clone().with_https_proxy("option https-proxy", value)?;
            }
            "http-proxy" => {
                operator_only(option)?;
                self.tls.proxy = self.tls.proxy.clone().with_http_proxy("option http-proxy", value)?;
            }
            "no-proxy" => {
                operator_only(option)?;
                self.tls.proxy = self.tls.proxy.clone().with_no_proxy(value);
            }
            "rw" => self.wants_writing = Some(boolean(option, value)?),
            _ if ACCEPTED.contains(&name) => {
                if name == "ro" {
                    self.wants_writing = Some(!boolean(option, value)?);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A proxy is not subject to the reach policy, so whoever names it could reach everything.
fn operator_only(option: &OptionInput) -> Result<()> {
    match option.source {
        OptionSource::Args => Ok(()),
        OptionSource::Environment | OptionSource::Runtime | OptionSource::Mount => {
            let why = "only the operator may set it: as --option in the profile's args, or as HTTPS_PROXY in its env";
            Err(wrong(option, why))
        }
    }
}

/// Where the PEM text of an option is: the text itself, a file below the secrets directory, or any file if the operator
/// says so.
fn pem(option: &OptionInput, secrets: &Path) -> Result<PemSource> {
    let value = option.value.as_str();
    if value.trim_start().starts_with("-----BEGIN ") {
        // What Fluid writes with THIN_FUSE_CONFIG_STORAGE=secret, in place of the path.
        return Ok(PemSource::from_bytes(value));
    }
    if let Some(relative) = value.strip_prefix(SecretsDir::PREFIX) {
        let relative = Path::new(relative);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(wrong(
                option,
                "the path leaves the secrets directory; write /etc/fluid/secrets/SECRET/KEY",
            ));
        }
        return Ok(PemSource::Below { path: secrets.join(relative), root: secrets.to_owned() });
    }
    if option.source == OptionSource::Args && !value.is_empty() {
        return Ok(PemSource::File(PathBuf::from(value)));
    }
    Err(wrong(option, "give it as an encryptOption, so that it is a file below /etc/fluid/secrets/"))
}

fn id(option: &OptionInput, value: &str) -> Result<u32> {
    // 4294967295 means `no change` to chown(2) and is nobody's number.
    value
        .parse()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| wrong(option, "it must be a number, like 1000"))
}

fn mode(option: &OptionInput, value: &str) -> Result<u16> {
    let digits = value.strip_prefix("0o").unwrap_or(value);
    u16::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| wrong(option, "it must be octal permission bits, like 0644"))
}

fn boolean(option: &OptionInput, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(wrong(option, "it must be true or false")),
    }
}

fn consistency(option: &OptionInput, value: &str) -> Result<Consistency> {
    match value {
        "ttl" => Ok(Consistency::Ttl),
        "open" => Ok(Consistency::Open),
        _ => Err(wrong(option, "it must be `ttl` or `open`")),
    }
}

/// `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
fn duration(option: &OptionInput, value: &str) -> Result<Duration> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let millis = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let longest = 366 * 24 * 3_600_000;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
        .filter(|total| millis > 0 && *total <= longest)
        .map(Duration::from_millis)
        .ok_or_else(|| wrong(option, "it must be a time like 500ms, 30s, 5m or 1h; a bare number is seconds"))
}

fn wrong(option: &OptionInput, what: &str) -> Error {
    let place = match option.source {
        OptionSource::Environment => "MOUNT_OPTIONS",
        OptionSource::Runtime => "runtimeOptions",
        OptionSource::Mount => "the mount's options",
        OptionSource::Args => "the command line",
    };
    Error::new(ErrorKind::Invalid, Blame::Caller, format!("option {} ({place}): {what}", option.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(source: OptionSource, name: &str, value: &str) -> OptionInput {
        OptionInput { name: name.to_owned(), value: value.to_owned(), source }
    }

    fn of(list: &[(&str, &str)]) -> Result<HostOptions> {
        let options = list.iter().map(|(name, value)| input(OptionSource::Mount, name, value)).collect();
        take(options, Path::new("/secrets")).map(|(host, _)| host)
    }

    #[test]
    fn values() {
        let host = of(&[
            ("uid", "1000"),
            ("gid", "100"),
            ("file_mode", "0440"),
            ("dir-mode", "550"),
            ("attr-ttl", "5m"),
            ("negative-ttl", "500ms"),
            ("consistency", "open"),
            ("request-timeout", "7"),
            ("type", "S3"),
            ("insecure-skip-verify", "true"),
            ("allow_other", ""),
            ("rw", ""),
        ])
        .unwrap();
        assert_eq!((host.files.uid, host.files.gid), (1000, 100));
        assert_eq!((host.files.file_mode, host.files.dir_mode), (0o440, 0o550));
        assert_eq!(host.files.attr_ttl, Duration::from_secs(300));
        assert_eq!(host.files.negative_ttl, Duration::from_millis(500));
        assert_eq!(host.files.consistency, Consistency::Open);
        assert_eq!(host.request_timeout, Duration::from_secs(7));
        assert!(host.tls.insecure_skip_verify && host.wants_writing == Some(true));
    }

    #[test]
    fn mistakes_name_key_and_place() {
        for (name, value) in [
            ("uid", "root"),
            ("uid", "-1"),
            ("uid", "4294967295"),
            ("file-mode", "rw"),
            ("file-mode", "1777"),
            ("dir-mode", "+7"),
            ("attr-ttl", "5d"),
            ("attr-ttl", "s"),
            ("attr-ttl", "99999999999999999999"),
            ("attr-ttl", "-5"),
            ("consistency", "strong"),
            ("request-timeout", "0"),
            ("insecure-skip-verify", "maybe"),
        ] {
            let message = of(&[(name, value)]).err().unwrap().message;
            assert!(
                message.starts_with(&format!("option {name} (the mount's options): it must")),
                "{message}"
            );
        }
    }

    #[test]
    fn strong_sources_win_and_the_rest_is_the_plugins() {
        let options = vec![
            input(OptionSource::Environment, "uid", "1"),
            input(OptionSource::Environment, "rw", ""),
            input(OptionSource::Mount, "uid", "2"),
            input(OptionSource::Mount, "endpoint", "http://a"),
            input(OptionSource::Args, "uid", "3"),
            input(OptionSource::Args, "ro", ""),
            input(OptionSource::Mount, "fluid.fuse.hostvolume", "/a"),
        ];
        let (host, rest) = take(options, Path::new("/secrets")).unwrap();
        assert_eq!(host.files.uid, 3);
        assert_eq!(host.wants_writing, Some(false));
        let names: Vec<_> = rest.iter().map(|option| option.name.as_str()).collect();
        assert_eq!(names, ["endpoint", "fluid.fuse.hostvolume"]);
    }

    #[test]
    fn a_mistake_that_a_stronger_place_corrects_does_no_harm() {
        let options = vec![
            input(OptionSource::Environment, "file_mode", "rw-r--r--"),
            input(OptionSource::Mount, "https-proxy", "http://10.0.0.1:3128"),
            input(OptionSource::Mount, "region", "a"),
            input(OptionSource::Args, "file-mode", "0600"),
            input(OptionSource::Args, "https-proxy", "http://10.0.0.2:3128"),
            input(OptionSource::Args, "region", "b"),
        ];
        let (host, rest) = take(options, Path::new("/secrets")).unwrap();
        assert_eq!(host.files.file_mode, 0o600);
        let rest: Vec<_> = rest.iter().map(|option| (option.name.as_str(), option.value.as_str())).collect();
        assert_eq!(rest, [("region", "a"), ("region", "b")], "all of the plugin's, in order");
    }

    #[test]
    fn files_of_users_lie_below_the_secrets_directory() {
        let path = |source, value: &str| match pem(&input(source, "ca-file", value), Path::new("/s")) {
            Ok(PemSource::File(path) | PemSource::Below { path, .. }) => path.display().to_string(),
            Ok(PemSource::Bytes(_)) => "text".to_owned(),
            Err(error) => error.message,
        };
        assert_eq!(path(OptionSource::Mount, "/etc/fluid/secrets/tls/ca.crt"), "/s/tls/ca.crt");
        assert_eq!(path(OptionSource::Args, "/etc/fluid/secrets/tls/ca.crt"), "/s/tls/ca.crt");
        assert_eq!(path(OptionSource::Args, "/etc/ssl/ca.pem"), "/etc/ssl/ca.pem");
        assert_eq!(path(OptionSource::Mount, "-----BEGIN CERTIFICATE-----\n…"), "text");
        assert!(path(OptionSource::Mount, "/etc/ssl/ca.pem").contains("encryptOption"));
        assert!(path(OptionSource::Environment, "/etc/shadow").contains("encryptOption"));
        for outside in
            ["/etc/fluid/secrets/../../shadow", "/etc/fluid/secrets/a/../../b", "/etc/fluid/secrets/"]
        {
            assert!(path(OptionSource::Mount, outside).contains("leaves the secrets directory"), "{outside}");
        }
    }

    #[test]
    fn who_says_whom_to_believe_is_known() {
        use OptionSource::{Args, Mount, Runtime};
        let trust = |list: &[(OptionSource, &str, &str)]| {
            let options = list.iter().map(|(source, name, value)| input(*source, name, value)).collect();
            take(options, Path::new("/s")).unwrap().0.trust()
        };
        let pem = "-----BEGIN CERTIFICATE-----";
        let believed =
            trust(&[(Runtime, "CA_file", pem), (Mount, "insecure_skip_verify", ""), (Mount, "uid", "1")]);
        let expected = [("ca-file", Runtime), ("insecure-skip-verify", Mount)];
        assert_eq!(believed, expected.map(|(name, source)| (name.to_owned(), source)));
        // What does not hold, and what changes nothing, does not count.
        let overruled = [(Mount, "insecure-skip-verify", "true"), (Args, "insecure-skip-verify", "false")];
        assert_eq!(trust(&overruled), []);
        let both = [(Mount, "ca-file", pem), (Args, "ca-file", pem)];
        assert_eq!(trust(&both), [("ca-file".to_owned(), Args)]);
    }

    #[test]
    fn only_the_operator_chooses_a_proxy() {
        for name in ["https-proxy", "http-proxy", "no-proxy"] {
            let message = of(&[(name, "http://10.0.0.1:3128")]).err().unwrap().message;
            assert!(message.contains("only the operator"), "{message}");
            let args = vec![input(OptionSource::Args, name, "http://10.0.0.1:3128")];
            assert!(take(args, Path::new("/s")).is_ok());
        }
    }
}
