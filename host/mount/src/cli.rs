//! The command line.

use crate::config::size;
use crate::plugins::args::{
    PluginInspectArgs, PluginPullArgs, PluginPushArgs, PluginVerifyArgs, RegistryArgs,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use wasmount_core::mounts::Layout;
use wasmount_observe::Format;
use wasmount_plugin::{RevealPolicy, RevealRule};

/// Mounts storage through WebAssembly plugins.
#[derive(Parser, Debug)]
#[command(name = "wasmount", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Mount what Fluid's config.json says, in the foreground, until SIGTERM or umount
    Run(RunArgs),
    /// Mount one source by hand, in the foreground, until Ctrl-C or umount
    Mount(MountArgs),
    /// Ask a mount how it is, for Kubernetes: ends with 0 if all is well, else with 1 and a sentence
    Probe(ProbeArgs),
    /// Read files and trees through a mount until they are in its disk cache
    Warm(WarmArgs),
    /// Look at a disk cache and tidy it up, also while mounts use it
    Cache {
        /// What to do with it.
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Look at plugins and test them
    Plugin {
        /// What to do with a plugin.
        #[command(subcommand)]
        command: PluginCommand,
    },
}

/// `wasmount run`
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Fluid's config.json [default: /etc/fluid/config/config.json, else /etc/fluid/config.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Mount point, instead of `targetPath` in config.json
    #[arg(long, value_name = "PATH")]
    pub(crate) target: Option<PathBuf>,
    /// Where mounts appear below the target: one mount as its root, or each as a directory
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layout: LayoutArg,
    /// Flags that `mount` has as well.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// `wasmount mount`
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// What to mount, like s3://bucket/prefix
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Where; created if it does not exist
    #[arg(value_name = "TARGET")]
    pub(crate) target: PathBuf,
    /// Options of the plugin and of wasmount; several with commas. A value with a comma needs --option.
    /// An endpoint named here may be reached wherever it is, loopback included
    #[arg(short = 'o', value_name = "KEY=VALUE", action = clap::ArgAction::Append)]
    pub(crate) o: Vec<String>,
    /// For the helper of mount(8): go on in the background once the mount is there
    #[arg(long, hide = true)]
    pub(crate) background: bool,
    /// For the helper of mount(8): log there from then on
    #[arg(long, hide = true, value_name = "FILE", requires = "background")]
    pub(crate) background_log: Option<PathBuf>,
    /// Flags that `run` has as well.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Flags of `run` and `mount`.
#[derive(Args, Debug)]
pub(crate) struct CommonArgs {
    /// A plugin: a file, a directory, https://…#sha256=HEX, or oci://REGISTRY/REPOSITORY with :TAG, @sha256:HEX or both. With SCHEME= it serves that
    /// scheme, whoever else claims it. What is not named is not loaded [default: those in $WASMOUNT_PLUGIN, separated by white space]
    #[arg(long, value_name = "[SCHEME=]REFERENCE", action = clap::ArgAction::Append)]
    pub(crate) plugin: Vec<String>,
    /// Accept plugins from registries only if they are signed by this key (cosign's public key, in PEM; one of several is enough)
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub(crate) plugin_key: Vec<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// A directory of plugins (*.wasm), for what those of --plugin do not serve
    /// [default: if no plugin is named, /plugins, /usr/share/wasmount/plugins, and `plugins` beside the executable or one directory up]
    #[arg(long, value_name = "DIR", action = clap::ArgAction::Append)]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// An option for all mounts, or for those of one plugin, called by its name or any of its schemes; wins over every other place
    #[arg(long, value_name = "[SCHEME:]KEY=VALUE", action = clap::ArgAction::Append)]
    pub(crate) option: Vec<String>,
    /// What plugins may connect to, exactly; `default` stands for everything but loopback, link-local and
    /// metadata addresses and those of this node
    #[arg(long, value_name = "CIDR|HOST[:PORT]", action = clap::ArgAction::Append)]
    pub(crate) allow_net: Vec<String>,
    /// Which secrets plugins may see.
    #[command(flatten)]
    pub(crate) reveal: RevealArgs,
    /// Refuse a mount with an option its plugin does not know, instead of warning
    #[arg(long)]
    pub(crate) strict_options: bool,
    /// Type of the mount is fuse.SUBTYPE
    #[arg(long, value_name = "SUBTYPE", default_value = "wasmount", value_parser = parse_subtype)]
    pub(crate) subtype: String,
    /// Memory for everything that grows with the work: reads, plugins, network
    /// [default: half of the cgroup's limit, else 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) memory: Option<u64>,
    /// Keep what was read in this directory, and read it from there the next time; several mounts of a node may share it
    /// [default: no disk cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Most bytes of the disk cache; the least recently used files go first [default: up to --cache-min-free]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "cache_dir")]
    pub(crate) cache_size: Option<u64>,
    /// Leave so much of the cache's file system free
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) cache_min_free: u8,
    /// Mounts with the same plugin, endpoint, source, options and namespace share cached bytes
    /// [default: the Dataset: the mount point's path]
    #[arg(long, value_name = "TEXT", requires = "cache_dir")]
    pub(crate) cache_namespace: Option<String>,
    /// Never let the kernel read cache files itself (a mount with passthrough cannot be a layer of an overlay)
    #[arg(long)]
    pub(crate) no_passthrough: bool,

    /// Have the kernel ask for every name each time, where another mount lies inside this one: what is needed to take names back
    /// from the kernel would unmount it. Only matters to file systems of their own, such as CephFS.
    #[arg(long)]
    pub(crate) no_keep_names: bool,
    /// Fetch at most so many small files ahead when the files of a directory are read one after the other; 0: none
    #[arg(long, value_name = "NUMBER", default_value_t = 32)]
    pub(crate) prefetch_files: u16,
    /// Serve metrics for Prometheus at http://ADDRESS/metrics [default: off]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// For what should survive a restart: plugins that were fetched, and compiled code. Without it they are fetched and compiled again at
    /// each start [default: `state` in --cache-dir, else /var/lib/wasmount]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Directory that values beginning with /etc/fluid/secrets/ refer to
    #[arg(long, value_name = "DIR", default_value = "/etc/fluid/secrets")]
    pub(crate) secrets_dir: PathBuf,
    /// Print what would be mounted, with every option and where it comes from, and what each mount could reach; mount nothing and ask no storage system.
    /// Ends with 1 if a mount would not work
    #[arg(
        long, value_name = "FORMAT", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "text"
    )]
    pub(crate) dry_run: Option<DryRunFormat>,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Which secrets plugins may see in clear, of those that they ask for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RevealArgs {
    /// Do not let plugins see these secrets in clear (`*`: none at all); a mount that has such an option is refused. What a plugin asks
    /// to see, `plugin inspect` says [default: it sees that]
    #[arg(long, value_name = "[PLUGIN:]OPTION", action = clap::ArgAction::Append)]
    pub(crate) deny_reveal: Vec<RevealRule>,
    /// But these they may see
    #[arg(long, value_name = "[PLUGIN:]OPTION", action = clap::ArgAction::Append, requires = "deny_reveal")]
    pub(crate) allow_reveal: Vec<RevealRule>,
}

impl RevealArgs {
    /// The operator's word.
    pub(crate) fn policy(&self) -> RevealPolicy {
        RevealPolicy::new(self.deny_reveal.clone(), self.allow_reveal.clone())
    }
}

/// `wasmount cache …`
#[derive(Subcommand, Debug)]
pub(crate) enum CacheCommand {
    /// List cached files: bytes cached, size, state, age of last use, source, key
    Ls(CacheArgs),
    /// Sum up disk usage by source
    Du(CacheArgs),
    /// Remove cached files that no mount has open
    Rm {
        /// Everything, whatever it is
        #[arg(long, conflicts_with_all = ["prefix", "identity"])]
        all: bool,
        /// Which.
        #[command(flatten)]
        args: CacheArgs,
    },
    /// Read every cached file and compare it with its checksums; damaged pages are removed
    Verify(CacheArgs),
}

/// Flags of `wasmount cache …`
#[derive(Args, Debug)]
pub(crate) struct CacheArgs {
    /// The directory that was given to `run` or `mount`
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: PathBuf,
    /// Only objects whose key begins with this
    #[arg(long, value_name = "KEY")]
    pub(crate) prefix: Option<String>,
    /// Only of this source: the hexadecimal name that `du` prints
    #[arg(long, value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `wasmount probe`
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// What to ask
    #[arg(value_enum)]
    pub(crate) question: Question,
    /// The mount point [default: $MOUNT_POINT, else `targetPath` in config.json]
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<PathBuf>,
    /// Ask in this process, which a mount that hangs may keep
    #[arg(long, hide = true)]
    pub(crate) itself: bool,
}

/// What `wasmount probe` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Question {
    /// The mount is there, and whoever serves it answers within a second
    Live,
    /// The same, and everything in it could be opened
    Ready,
}

/// `wasmount warm`
#[derive(Args, Debug)]
pub(crate) struct WarmArgs {
    /// Files and directories on a mount that was started with --cache-dir; what is cached already is skipped, so that an
    /// interrupted run is resumed by repeating it
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// At most so many bytes a second
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) limit_rate: Option<u64>,
    /// Files read at the same time
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) jobs: u8,
    /// No progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Logging.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Looks of log lines: auto is human on a terminal and json elsewhere
    #[arg(long, value_name = "auto|human|json", default_value = "auto", value_parser = parse_format)]
    pub(crate) log: Format,
    /// What to log: error, warn, info, debug, trace, or a filter like info,wasmount_net=debug
    /// [default: $WASMOUNT_LOG, else info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// `wasmount plugin …`
#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Print kind, version, options and network needs of a plugin, and which secrets it sees
    Inspect(PluginInspectArgs),
    /// Run the conformance suite on a plugin, in the real sandbox, without mounting
    Test(PluginTestArgs),
    /// Fetch a plugin, verify it, and keep it for `run` and `mount`
    Pull(PluginPullArgs),
    /// Store a plugin in a registry, as a WebAssembly artifact
    Push(PluginPushArgs),
    /// Check who signed a plugin in a registry
    Verify(PluginVerifyArgs),
}

/// `wasmount plugin test`
#[derive(Args, Debug)]
pub(crate) struct PluginTestArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A real server with objects to test against, plain http; the suite only reads
    /// [default: objects that wasmount serves by itself]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// What to mount there, like s3://bucket/prefix [default: a bucket called `suite`]
    #[arg(long, value_name = "MOUNT-POINT")]
    pub(crate) source: Option<String>,
    /// What wasmount should serve by itself [default: s3 for plugins of the scheme s3, files for others]
    #[arg(long, value_enum)]
    pub(crate) script: Option<ScriptArg>,
    /// Options of the plugin; several with commas
    #[arg(short = 'o', value_name = "KEY=VALUE", action = clap::ArgAction::Append)]
    pub(crate) o: Vec<String>,
    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// [`Layout`] as a word on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutArg {
    /// A single mount without `path`, or with `/`, is the root; otherwise directories
    #[default]
    Auto,
    /// The single mount is the root
    Root,
    /// Each mount is a directory at its `path`, else at /NAME
    Dirs,
}

impl From<LayoutArg> for Layout {
    fn from(arg: LayoutArg) -> Self {
        match arg {
            LayoutArg::Auto => Self::Auto,
            LayoutArg::Root => Self::Root,
            LayoutArg::Dirs => Self::Dirs,
        }
    }
}

/// How `--dry-run` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRunFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What the conformance suite can serve by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScriptArg {
    /// The read half of S3
    S3,
    /// Files on a plain HTTP server
    Files,
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: wasmount_observe::LogError| error.to_string())
}

fn parse_subtype(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(fine) {
        return Err("a subtype consists of letters, digits, `-`, `_` and `.`".to_owned());
    }
    // Profiles name the whole type; what follows `fuse.` is the subtype.
    Ok(text.strip_prefix("fuse.").unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_defaults() {
        let cli = Cli::try_parse_from(["wasmount", "run"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.config, None);
        assert_eq!(run.layout, LayoutArg::Auto);
        assert_eq!(run.common.subtype, "wasmount");
        assert_eq!(run.common.secrets_dir, PathBuf::from("/etc/fluid/secrets"));
        assert_eq!(run.common.log.log, Format::Auto);
    }

    #[test]
    fn mount_takes_many_options() {
        let cli = Cli::try_parse_from([
            "wasmount",
            "mount",
            "s3://b/p",
            "/mnt",
            "-o",
            "a=b,c=d",
            "-o",
            "ro",
            "--plugin",
            "s3=x.wasm",
            "--allow-net",
            "10.0.0.0/8",
            "--allow-net",
            "default",
            "--subtype",
            "fuse.goofys",
            "--log",
            "json",
        ])
        .unwrap();
        let Command::Mount(mount) = cli.command else { panic!("not mount") };
        assert_eq!((mount.source.as_str(), mount.target), ("s3://b/p", PathBuf::from("/mnt")));
        assert_eq!(mount.o, ["a=b,c=d", "ro"]);
        assert_eq!(mount.common.allow_net, ["10.0.0.0/8", "default"]);
        assert_eq!(mount.common.subtype, "goofys");
        assert_eq!(mount.common.log.log, Format::Json);
    }

    #[test]
    fn mistakes_are_refused() {
        for args in [
            &["wasmount"][..],
            &["wasmount", "run", "--layout", "tree"],
            &["wasmount", "run", "--subtype", "a b"],
            &["wasmount", "run", "--log", "xml"],
            &["wasmount", "mount", "s3://b"],
            &["wasmount", "plugin", "inspect"],
            &["wasmount", "run", "--deny-reveal", "a b"],
            &["wasmount", "run", "--allow-reveal", "s3:access-key"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
