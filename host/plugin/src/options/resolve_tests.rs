//! Sources, names and files.

use super::*;
use crate::description::{EndpointRule, NetworkNeeds};
use crate::spec::OptionSource;
use std::path::PathBuf;

fn option(name: &str, aliases: &[&str], kind: OptionKind) -> OptionSpec {
    OptionSpec {
        name: name.into(),
        aliases: aliases.iter().map(|a| (*a).into()).collect(),
        kind,
        required: false,
        default: None,
        doc: String::new(),
    }
}

fn description() -> Description {
    let rule = EndpointRule {
        protocols: vec!["https".into(), "http".into()],
        default_port: 443,
        many: false,
        read_methods: vec![],
    };
    Description {
        name: "s3".into(),
        version: "1".into(),
        summary: "x".into(),
        schemes: vec!["s3".into()],
        csi_drivers: vec![],
        options: vec![
            OptionSpec {
                required: true,
                ..option("endpoint", &["minio-url", "url"], OptionKind::Endpoint(rule))
            },
            OptionSpec { default: Some("us-east-1".into()), ..option("region", &[], OptionKind::Text) },
            option(
                "secret-key",
                &["minio-access-secret"],
                OptionKind::Secret { reveal: false, sent_to: vec![] },
            ),
            option("policy", &[], OptionKind::FileContent),
            option("limit", &[], OptionKind::Size),
        ],
        network: NetworkNeeds::default(),
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    strict: bool,
    description: Description,
    reveal: RevealPolicy,
    trust: Vec<(String, OptionSource)>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("secrets/mine")).unwrap();
        Self {
            dir,
            strict: false,
            description: description(),
            reveal: RevealPolicy::default(),
            trust: vec![],
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn resolve(&self, options: &[(&str, &str, OptionSource)]) -> Result<Resolved, String> {
        let inputs: Vec<_> = options
            .iter()
            .map(|(name, value, source)| OptionInput {
                name: (*name).into(),
                value: (*value).into(),
                source: *source,
            })
            .collect();
        let (mount, limits) = (MountId::new("data"), Limits::default());
        let secrets = SecretsDir::new(self.dir.path().join("secrets"));
        let resolver = Resolver {
            mount: &mount,
            description: &self.description,
            secrets: &secrets,
            limits: &limits,
            reveal: &self.reveal,
            trust: &self.trust,
            strict: self.strict,
        };
        resolver.resolve(&inputs).map_err(|e| e.message)
    }

    fn shown(&self, options: &[(&str, &str, OptionSource)]) -> String {
        let text = |setting: &Setting| {
            let value = match &setting.value {
                Value::Plain(Plain::Endpoints(e, _)) => format!("{}:{}", e[0].host, e[0].port),
                Value::Plain(Plain::Text(text)) => text.clone(),
                Value::Plain(other) => format!("{other:?}"),
                Value::Secret { secret, .. } => format!("<{}>", String::from_utf8(secret.reveal()).unwrap()),
                Value::Content(bytes) => format!("[{}]", String::from_utf8_lossy(bytes)),
            };
            format!("{}={value}{}", setting.name, if setting.explicit() { "" } else { " (default)" })
        };
        self.resolve(options).unwrap().settings.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

use OptionSource::{Args, Environment, Mount, Runtime};

#[test]
fn later_sources_win_and_aliases_are_one_option() {
    let fixture = Fixture::new();
    let shown = |options: &[_]| fixture.shown(options);
    assert_eq!(shown(&[("minio-url", "http://a", Mount)]), "endpoint=a:80, region=us-east-1 (default)");
    assert_eq!(
        shown(&[
            ("url", "http://args", Args),
            ("endpoint", "http://mount", Mount),
            ("region", "r", Environment)
        ]),
        "endpoint=args:80, region=r"
    );
    assert_eq!(
        shown(&[("endpoint", "http://r", Runtime), ("url", "http://e", Environment)]),
        "endpoint=r:80, region=us-east-1 (default)"
    );
    assert_eq!(
        shown(&[("url", "http://1", Args), ("url", "http://2", Args)]),
        "endpoint=2:80, region=us-east-1 (default)"
    );
    let both = fixture.resolve(&[("url", "http://a", Mount), ("endpoint", "http://b", Mount)]).err().unwrap();
    assert!(
        both.contains("mount data") && both.contains("`url` and `endpoint`") && both.contains("remove one"),
        "{both}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let mut fixture = Fixture::new();
    let fails = |fixture: &Fixture, options: &[_]| fixture.resolve(options).err().unwrap();
    let missing = fails(&fixture, &[]);
    assert!(
        missing.contains("mount data") && missing.contains("`endpoint` (or `minio-url`, `url`) is missing"),
        "{missing}"
    );
    let malformed = fails(&fixture, &[("url", "http://a", Mount), ("limit", "much", Mount)]);
    assert!(malformed.contains("option `limit` in the mount's options must be a size"), "{malformed}");

    let unknown = [
        ("url", "http://a", Mount),
        ("regoin", "x", Mount),
        ("fluid.io/x", "y", Mount),
        ("foo", "1", Runtime),
        ("bar", "1", Environment),
    ];
    let warnings = fixture.resolve(&unknown).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("`regoin`") && warnings[0].contains("did you mean `region`?"),
        "{warnings:?}"
    );
    fixture.strict = true;
    assert!(fails(&fixture, &unknown).contains("did you mean `region`?"));
    assert!(
        fixture.resolve(&unknown[3..]).is_err_and(|e| e.contains("`endpoint`")),
        "only the missing option is an error"
    );
}

#[test]
fn a_query_after_the_endpoint_is_a_warning() {
    let warnings = Fixture::new().resolve(&[("url", "http://own:9000/?x=1&y=<2>", Mount)]).unwrap().warnings;
    assert!(warnings[0].contains("option `url`: its query"), "{warnings:?}");
}

#[test]
fn values_of_any_kind_may_be_files_below_the_secrets_directory() {
    let fixture = Fixture::new();
    fixture.file("secrets/mine/url", "http://from-file:1\n");
    fixture.file("secrets/mine/key", "hunter2\n");
    fixture.file("secrets/mine/policy", "{}\n");
    let options = [
        ("minio-url", "/etc/fluid/secrets/mine/url", Mount),
        ("minio-access-secret", "/etc/fluid/secrets/mine/key", Mount),
        ("policy", "/etc/fluid/secrets/mine/policy", Mount),
    ];
    assert_eq!(
        fixture.shown(&options),
        "endpoint=from-file:1, region=us-east-1 (default), secret-key=<hunter2>, policy=[{}\n]"
    );
    assert!(
        fixture
            .shown(&[("url", "http://a", Mount), ("secret-key", "literal", Mount)])
            .contains("secret-key=<literal>")
    );

    for missing in ["url", "secret-key", "policy"] {
        let options = [("endpoint", "http://a", Runtime), (missing, "/etc/fluid/secrets/mine/none", Mount)];
        let error = fixture.resolve(&options).err().unwrap();
        assert!(error.contains("data") && error.contains(missing) && error.contains("mine/none"), "{error}");
    }
    let escape = fixture
        .resolve(&[("url", "http://a", Mount), ("secret-key", "/etc/fluid/secrets/../../passwd", Mount)]);
    assert!(escape.is_err());
}

#[test]
fn only_the_operator_names_other_files() {
    let fixture = Fixture::new();
    let path = fixture.file("elsewhere", "value\n");
    let (path, at) = (path.to_str().unwrap(), format!("@{}", path.display()));
    let with = |option: (&'static str, &str, OptionSource)| {
        fixture.resolve(&[("endpoint", "http://a", Mount), (option.0, option.1, option.2)])
    };
    let value = |option: (&'static str, &str, OptionSource)| {
        fixture.shown(&[("endpoint", "http://a", Mount), (option.0, option.1, option.2)])
    };
    assert!(value(("secret-key", &at, Args)).contains("secret-key=<value>"));
    assert!(value(("secret-key-file", path, Args)).contains("secret-key=<value>"));
    assert!(value(("region", &at, Args)).contains("region=value"));
    assert!(value(("region-file", path, Args)).contains("region=value"));
    assert!(value(("policy", path, Args)).contains("policy=[value\n]"));

    // From a Dataset the same texts are literals, unknown keys or errors.
    assert!(value(("region", &at, Mount)).contains(&format!("region={at}")));
    assert!(value(("secret-key", &at, Mount)).contains(&format!("secret-key=<{at}>")));
    assert_eq!(with(("secret-key-file", path, Mount)).unwrap().warnings.len(), 1);
    assert!(with(("policy", path, Mount)).is_err());
    let missing = with(("region", "@/nonexistent", Args)).err().unwrap();
    assert!(missing.contains("option `region`: /nonexistent"), "{missing}");
    assert!(with(("region", "@/dev/zero", Args)).err().unwrap().contains("not a regular file"));
}

#[test]
fn the_content_of_a_file_is_never_repeated() {
    let fixture = Fixture::new();
    fixture.file("secrets/mine/key", "swordfish in the wrong place\n");
    let path = fixture.file("elsewhere", "swordfish in the wrong place\n");
    for name in ["limit", "endpoint"] {
        for (value, source) in [
            ("/etc/fluid/secrets/mine/key".to_owned(), OptionSource::Mount),
            (format!("@{}", path.display()), OptionSource::Args),
        ] {
            let good = ("endpoint", "http://h", OptionSource::Environment);
            let error = fixture.resolve(&[good, (name, &value, source)]).err().unwrap();
            assert!(error.contains(&format!("option `{name}`")) && !error.contains("swordfish"), "{error}");
        }
    }
}

#[test]
fn only_the_operator_says_where_a_secret_of_the_operators_is_sent() {
    let mut fixture = Fixture::new();
    let token = option("token", &[], OptionKind::Secret { reveal: true, sent_to: vec!["endpoint".into()] });
    fixture.description.options.push(token);
    let outcome = |place: OptionSource, secret: OptionSource| {
        fixture.resolve(&[("minio-url", "http://thief", place), ("token", "t", secret)]).err()
    };
    for place in [Environment, Runtime, Mount] {
        let refused = outcome(place, Args).unwrap();
        assert!(
            refused.contains("option `endpoint` stands in") && refused.contains(place.place()),
            "{refused}"
        );
        assert!(refused.contains("`token` on the command line") && refused.contains("--option"), "{refused}");
        for secret in [Environment, Runtime, Mount] {
            assert_eq!(outcome(place, secret), None, "their own");
        }
    }
    assert_eq!(outcome(Args, Args), None);
    // A key that only signs is sent nowhere.
    let signs = [("endpoint", "http://a", Mount), ("secret-key", "k", Args)];
    assert!(fixture.resolve(&signs).is_ok());
    // Nobody has named the place: it is the plugin's.
    fixture.description.options[0].default = Some("https://usual".into());
    assert!(fixture.resolve(&[("token", "t", Args)]).is_ok());
}

#[test]
fn only_the_operator_says_whom_a_mount_with_the_operators_secret_believes() {
    let mut fixture = Fixture::new();
    let endpoint = ("endpoint", "https://minio", Args);
    for weaker in ["insecure-skip-verify", "ca-file"] {
        for source in [Environment, Runtime, Mount] {
            fixture.trust = vec![(weaker.to_owned(), source)];
            // It signs alone, and still: who answers would be asked in the operator's name.
            let refused = fixture.resolve(&[endpoint, ("secret-key", "k", Args)]).err().unwrap();
            for part in [weaker, source.place(), "`secret-key` on the command line", "believes", "--option"] {
                assert!(refused.contains(part), "{part}: {refused}");
            }
            for secret in [Environment, Runtime, Mount] {
                assert!(fixture.resolve(&[endpoint, ("secret-key", "k", secret)]).is_ok(), "their own");
            }
            assert!(fixture.resolve(&[endpoint]).is_ok(), "without any secret");
        }
        fixture.trust = vec![(weaker.to_owned(), Args)];
        assert!(fixture.resolve(&[endpoint, ("secret-key", "k", Args)]).is_ok());
    }
}

#[test]
fn what_the_operator_hides_is_refused_before_its_file_is_read() {
    let mut fixture = Fixture::new();
    let seen = option("token", &[], OptionKind::Secret { reveal: true, sent_to: vec![] });
    fixture.description.options.push(seen);
    fixture.reveal = RevealPolicy::new(vec!["s3:*".parse().unwrap()], vec![]);
    let missing = "/etc/fluid/secrets/mine/none";
    let all = [("url", "http://a", Mount), ("secret-key", "k", Mount), ("token", missing, Mount)];
    let refused = fixture.resolve(&all).err().unwrap();
    for part in ["mount data", "plugin s3", "`token`", "--deny-reveal s3:*", "--allow-reveal s3:token"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(fixture.resolve(&all[..2]).is_ok(), "what is not set is not missed, what only signs is not seen");
    fixture.reveal = RevealPolicy::new(vec!["*".parse().unwrap()], vec!["s3:token".parse().unwrap()]);
    assert!(fixture.resolve(&all).err().unwrap().contains("cannot be read"), "its file is looked for now");
}
