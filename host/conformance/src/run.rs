//! Putting a run together: plugin, origin, options.

use crate::bench::{Bench, MakeSource, list_all, open};
use crate::origin::files::Files;
use crate::origin::forward::Forward;
use crate::origin::objects::Objects;
use crate::origin::s3::Bucket;
use crate::origin::{Handler, Origin};
use crate::report::Report;
use crate::suite;
use crate::suite::blocks::BlockBench;
use crate::suite::files::FileBench;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::ports::{ListRequest, ProviderSource};
use wasmount_net::policy::{AllowNet, ReachPolicy};
use wasmount_net::{HttpClient, TlsSettings};
use wasmount_plugin::{Kind, MountSpec, OptionInput, OptionKind, OptionSource, Plugin, PluginHost};
use wasmount_types::{Blame, Error, ErrorKind, MountId};

/// Bucket or host name in the mount point of a scripted run.
const SCRIPTED_NAME: &str = "suite";

/// A protocol that the suite serves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// The read half of S3, path style, bucket `suite`.
    S3,
    /// Files on a plain HTTP server, with an index at `/index.txt`.
    Files,
}

/// What to test, and against what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The component.
    pub plugin: PathBuf,
    /// A real server that speaks plain HTTP, `http://HOST:PORT`; the suite only reads. `None`: scripted objects.
    pub endpoint: Option<String>,
    /// What the scripted origin speaks; `None`: S3 for plugins of the scheme `s3`, files for all others.
    pub script: Option<Script>,
    /// `mountPoint`; `None`: the plugin's first scheme and the name `suite`.
    pub mount_point: Option<String>,
    /// Further options of the plugin.
    pub options: Vec<(String, String)>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, message)
}

/// Runs the suite for the kind of plugin that it is.
///
/// # Errors
/// When it cannot begin: the file is no plugin, an object store has no endpoint option, the options are not for its kind, or it does
/// not open against an origin that is in order.
pub async fn run(host: &Arc<PluginHost>, options: Options) -> Result<Report, Error> {
    let plugin = host.load(&options.plugin)?;
    match plugin.kind() {
        Kind::Objects => run_objects(host, &plugin, options).await,
        Kind::Files => {
            let bench = FileBench::new(real_source(host, &plugin, options)?).await?;
            Ok(suite::files::run(&bench).await)
        }
        Kind::Blocks => {
            let bench = BlockBench::new(real_source(host, &plugin, options)?).await?;
            Ok(suite::blocks::run(&bench).await)
        }
    }
}

/// Block stores and file systems are tested against real ones: mount point and options say which.
fn real_source(host: &Arc<PluginHost>, plugin: &Arc<Plugin>, options: Options) -> Result<MakeSource, Error> {
    let kind = plugin.kind();
    let name = &plugin.description().name;
    if options.endpoint.is_some() || options.script.is_some() {
        return Err(invalid(format!(
            "{name} is a {kind}: the suite can serve none by itself, and stands in the middle of none; leave --endpoint and \
             --script out, and name a storage system with --source and -o"
        )));
    }
    let mount_point = options.mount_point.ok_or_else(|| {
        let scheme = plugin.description().schemes.first().map_or("SCHEME", String::as_str);
        invalid(format!("{name} is a {kind}; say which to test against, with --source {scheme}://..."))
    })?;
    let (given, plugin, host) = (options.options, plugin.clone(), host.clone());
    let client = HttpClient::new(tokio::runtime::Handle::current());
    // The operator has typed every address but those that the storage system itself reveals, often on this machine.
    let rules = ["default", "127.0.0.0/8", "::1"].map(AllowNet::parse);
    let reach = ReachPolicy::new(rules.into_iter().collect::<Result<_, _>>()?);
    let source = move |more: Vec<(String, String)>| -> Result<Arc<dyn ProviderSource>, Error> {
        let spec = spec(&mount_point, given.iter().cloned().chain(more).collect());
        Ok(Arc::new(host.mount(plugin.clone(), spec, client.clone(), reach.clone())))
    };
    Ok(Box::new(source))
}

/// An object store is tested against an origin that can be made to misbehave.
async fn run_objects(
    host: &Arc<PluginHost>,
    plugin: &Arc<Plugin>,
    options: Options,
) -> Result<Report, Error> {
    let (plugin, description) = (plugin.clone(), plugin.description().clone());
    let endpoint =
        description.options.iter().find(|o| matches!(o.kind, OptionKind::Endpoint(_))).ok_or_else(|| {
            invalid(format!(
                "{} has no option of kind `endpoint`, so no test origin can be given to it",
                description.name
            ))
        })?;
    let scheme = description
        .schemes
        .first()
        .ok_or_else(|| invalid(format!("{} serves no scheme", description.name)))?;
    let script = options.script.unwrap_or(if scheme == "s3" { Script::S3 } else { Script::Files });
    let mount_point = options.mount_point.clone().unwrap_or_else(|| format!("{scheme}://{SCRIPTED_NAME}"));

    let objects = options.endpoint.is_none().then(|| Arc::new(sample_objects()));
    let handler: Arc<dyn Handler> = match (&options.endpoint, &objects, script) {
        (Some(url), ..) => Arc::new(Forward { upstream: upstream(url)? }),
        (None, Some(objects), Script::S3) => {
            Arc::new(Bucket { name: SCRIPTED_NAME.into(), objects: objects.clone() })
        }
        (None, objects, _) => Arc::new(Files(objects.clone().unwrap_or_default())),
    };
    let origin = Origin::start(handler).await?;

    let mut given = options.options.clone();
    given.push((endpoint.name.clone(), origin.url()));
    if objects.is_some() {
        // A scripted origin does not check credentials, but a plugin may want to have some.
        for option in description.options.iter().filter(|o| matches!(o.kind, OptionKind::Secret { .. })) {
            let names = || std::iter::once(&option.name).chain(&option.aliases);
            let optional_token = option.name.contains("token");
            if !optional_token && !given.iter().any(|(name, _)| names().any(|n| n == name)) {
                given.push((option.name.clone(), "suite-credential".into()));
            }
        }
    }

    let client = HttpClient::new(tokio::runtime::Handle::current());
    let reach = ReachPolicy::new(vec![AllowNet::parse("127.0.0.1")?]);
    let host = host.clone();
    let source = move |more: Vec<(String, String)>| -> Result<Arc<dyn ProviderSource>, Error> {
        let mut options: Vec<_> =
            given.iter().filter(|(n, _)| !more.iter().any(|(m, _)| m == n)).cloned().collect();
        options.extend(more);
        let spec = spec(&mount_point, options);
        Ok(Arc::new(host.mount(plugin.clone(), spec, client.clone(), reach.clone())))
    };
    let store = open(&*source(Vec::new())?).await.map_err(|e| e.context("the plugin does not open"))?;
    let (all, _) = list_all(&*store, ListRequest { limit: 1000, ..ListRequest::default() })
        .await
        .map_err(|e| e.context("the plugin does not list"))?;
    let listed = all.into_iter().map(|o| (o.key.as_str().to_string(), o)).collect();
    let bench = Bench { source: Box::new(source), origin, scripted: objects, store, listed };
    Ok(suite::run(&bench).await)
}

/// `HOST:PORT` of a plain HTTP URL.
fn upstream(url: &str) -> Result<String, Error> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        invalid(format!(
            "--endpoint {url}: the suite stands in the middle, so the endpoint must speak plain http://"
        ))
    })?;
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { authority.into() } else { format!("{authority}:80") })
}

fn spec(mount_point: &str, options: Vec<(String, String)>) -> MountSpec {
    let entry = serde_json::json!({ "mountPoint": mount_point });
    let options = options
        .into_iter()
        .map(|(name, value)| OptionInput { name, value, source: OptionSource::Args })
        .collect();
    MountSpec {
        id: MountId::new("suite"),
        mount_point: mount_point.into(),
        entry,
        options,
        persistent_volume: None,
        read_only: true,
        strict_options: true,
        cache_namespace: None,
        secrets_dir: "/etc/fluid/secrets".into(),
        tls: TlsSettings::default(),
        trust: Vec::new(),
        request_timeout: Duration::from_secs(5),
    }
}

/// What a scripted origin holds: names and sizes that have tripped clients before.
fn sample_objects() -> Objects {
    let objects = Objects::default();
    let bytes =
        |n: usize| (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>();
    for (key, size) in [
        ("a.txt", 6),
        ("empty", 0),
        ("one-byte", 1),
        ("with space and + plus", 100),
        ("percent%41 & ampersand=1", 101),
        ("quote'\"<>", 102),
        ("ünïcödé/žluťoučký 中文.txt", 103),
        ("dir/a", 5_000),
        ("dir/b", 70_000),
        ("dir/sub/deep/er/file", 9_000),
        ("dir-with-dash/x", 10),
        ("dir.txt", 11),
        ("big/1MiB.bin", 1 << 20),
        ("big/odd.bin", 3_000_017),
    ] {
        objects.put(key, bytes(size));
    }
    for i in 0..40 {
        objects.put(&format!("many/{i:03}.bin"), bytes(4_096 + i));
    }
    objects
}
