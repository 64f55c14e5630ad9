//! Containers as kubelet would run them, without Kubernetes: podman on images that were built here, no daemon and no registry.
//!
//! [`Node`] is a directory that stands for a node's `/`, a shared mount as `/runtime-mnt` is there. [`Node::start`] takes a pod's
//! `spec`, captured from Fluid's DaemonSet or rendered, and does what kubelet does with it: environment, command, volumes with
//! their propagation, privileges, network. `WASMOUNT_WITHOUT_CONTAINERS=1` leaves these tests out where containers cannot run; without
//! it, a machine that cannot run them fails them.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bounded::{RECOVERY, SOON, wait_for};
use crate::paths;

/// Which of the two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The static binary and the plugins.
    Slim,
    /// The same in a small Debian.
    Full,
}

impl Image {
    /// Its name in the storage.
    pub fn name(self) -> String {
        let suffix = if self == Self::Full { "-full" } else { "" };
        format!("localhost/wasmount:{}{suffix}", env!("CARGO_PKG_VERSION"))
    }
}

/// What a container may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// What its `securityContext` says: Fluid says `privileged`.
    OfThePod,
    /// `CAP_SYS_ADMIN` and nothing else, `/dev/fuse`, and a root file system that cannot be written.
    OnlySysAdmin,
}

/// Whether the person at the machine has asked to leave these tests out. Says so when it is the case.
pub fn left_out() -> bool {
    let out = std::env::var_os("WASMOUNT_WITHOUT_CONTAINERS").is_some_and(|value| value == "1");
    if out {
        eprintln!("left out: WASMOUNT_WITHOUT_CONTAINERS=1");
    }
    out
}

/// The storage of images and containers that all tests of a binary share. `tests/servers/containers` removes it, with whatever is
/// mounted in it, when this process ends.
#[derive(Debug)]
pub struct Containers {
    dir: PathBuf,
}

impl Containers {
    /// Builds the images at the first call.
    ///
    /// # Errors
    /// When containers cannot run on this machine; every test that needs them then fails with the same words.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Containers, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn start() -> Result<Self> {
        // Not /tmp, which may be in memory or an overlay. Kept: its owner is this process, and the script removes it.
        let dir = tempfile::Builder::new().prefix("wasmount-containers-").tempdir_in("/var/tmp")?.keep();
        let mut command = script(300, "start", &dir);
        run(command.env("CONTAINERS_OWNER", std::process::id().to_string()))?;
        Ok(Self { dir })
    }

    /// Runs podman on this storage, and returns its standard output.
    ///
    /// # Errors
    /// When it fails, or takes more than a minute; the message carries what it said.
    pub fn podman<I: AsRef<str>>(&self, arguments: &[I]) -> Result<String> {
        Ok(run(script(60, "podman", &self.dir).args(arguments.iter().map(AsRef::as_ref)))?.standard)
    }

    /// Bytes of an image, as they are unpacked.
    ///
    /// # Errors
    /// When it was not built.
    pub fn image_size(&self, image: Image) -> Result<u64> {
        Ok(self.podman(&["image", "inspect", "--format", "{{.Size}}", &image.name()])?.trim().parse()?)
    }

    /// A file of an image, without running it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn file(&self, image: Image, path: &str) -> Result<String> {
        let root = self.podman(&["image", "mount", &image.name()])?;
        let text = std::fs::read_to_string(Path::new(root.trim()).join(path.trim_start_matches('/')));
        self.podman(&["image", "unmount", &image.name()])?;
        text.with_context(|| format!("{path} of {}", image.name()))
    }

    /// A node with an empty file system.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn node(&self) -> Result<Node<'_>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = self.dir.join("node").join(number.to_string());
        std::fs::create_dir(&root).with_context(|| root.display().to_string())?;
        Ok(Node { containers: self, root, number })
    }
}

/// A node's file system, and what kubelet keeps there.
#[derive(Debug)]
pub struct Node<'a> {
    containers: &'a Containers,
    root: PathBuf,
    number: u32,
}

impl Node<'_> {
    /// Where a path of the node is for this process.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a ConfigMap (`configMap`) or a Secret (`secret`) as kubelet does: the keys are links to a directory `..data`, which is
    /// replaced in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, kind: &str, name: &str, data: &[(&str, &str)]) -> Result<()> {
        let dir = self.kubelet(kind, name);
        std::fs::create_dir_all(&dir)?;
        let generation = tempfile::Builder::new().prefix("..").tempdir_in(&dir)?.keep();
        // kubelet's writer lets everybody in, whichever user the pod runs as.
        std::fs::set_permissions(&generation, Permissions::from_mode(0o755))?;
        for (key, value) in data {
            std::fs::write(generation.join(key), value)?;
            match symlink(format!("..data/{key}"), dir.join(key)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        }
        symlink(generation.file_name().context("a name")?, dir.join("..data_tmp"))?;
        Ok(std::fs::rename(dir.join("..data_tmp"), dir.join("..data"))?)
    }

    fn kubelet(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join("var/lib/kubelet").join(kind).join(name)
    }

    /// Starts the only container of a pod.
    ///
    /// # Errors
    /// When the pod asks for what is not understood here, or the container does not start.
    pub fn start(&self, pod: &Value, image: Image, rights: Rights) -> Result<Container<'_>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("node{}-{}", self.number, NEXT.fetch_add(1, Ordering::Relaxed));
        let container = pod.pointer("/containers/0").context("the pod has no container")?;
        let mut arguments: Vec<String> = ["run", "--detach", "--name", &name].map(str::to_owned).to_vec();
        arguments.extend(network(pod));
        arguments.extend(self.privileges(container, rights)?);
        for variable in list(container, "env") {
            let field = |name: &str| variable.get(name).and_then(Value::as_str);
            // `valueFrom` has no meaning without an API server.
            if let (Some(name), Some(value)) = (field("name"), field("value")) {
                arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
            }
        }
        for mount in list(container, "volumeMounts") {
            arguments.extend(["--volume".to_owned(), self.volume(pod, mount)?]);
        }
        if let Some(command) = container.get("command") {
            arguments.extend(["--entrypoint".to_owned(), command.to_string()]);
        }
        arguments.push(image.name());
        arguments.extend(list(container, "args").filter_map(Value::as_str).map(str::to_owned));
        self.containers.podman(&arguments)?;
        Ok(Container { node: self, name, pod: pod.clone() })
    }

    fn privileges(&self, container: &Value, rights: Rights) -> Result<Vec<String>> {
        let context = container.get("securityContext").context("no securityContext")?;
        let id = |name: &str| context.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (user, group) = (id("runAsUser"), id("runAsGroup"));
        let mut arguments = vec!["--user".to_owned(), format!("{user}:{group}")];
        match rights {
            Rights::OfThePod => {
                ensure!(
                    context.get("privileged").is_some_and(|flag| *flag == true),
                    "Fluid's pods are privileged"
                );
                arguments.push("--privileged".to_owned());
            }
            Rights::OnlySysAdmin => {
                arguments.extend(
                    ["--cap-drop=all", "--cap-add=SYS_ADMIN", "--read-only", "--read-only-tmpfs=false"]
                        .map(str::to_owned),
                );
                arguments.push(match user {
                    0 => "--device=/dev/fuse".to_owned(),
                    _ => format!("--device={}:/dev/fuse", self.fuse_for_everybody()?.display()),
                });
            }
        }
        Ok(arguments)
    }

    /// The device with the mode that udev gives it (systemd's `50-udev-default.rules`), whether or not there is an udev here.
    fn fuse_for_everybody(&self) -> Result<PathBuf> {
        let device = self.path("/dev/fuse");
        if !device.exists() {
            std::fs::create_dir_all(self.path("/dev"))?;
            let mut command = Command::new("mknod");
            run(command.arg("--mode=0666").arg(&device).args(["c", "10", "229"]))?;
        }
        Ok(device)
    }

    /// `--volume` for one `volumeMounts` entry; a `hostPath` is made, as `DirectoryOrCreate` has it.
    fn volume(&self, pod: &Value, mount: &Value) -> Result<String> {
        let name = mount.get("name").context("a volume mount has no name")?;
        let volume = list(pod, "volumes")
            .find(|volume| volume.get("name") == Some(name))
            .with_context(|| format!("no volume {name}"))?;
        let text = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str);
        let source = if let Some(path) = text("/hostPath/path") {
            let source = self.path(path);
            std::fs::create_dir_all(&source)?;
            source
        } else if let Some(name) = text("/configMap/name") {
            self.kubelet("configMap", name)
        } else if let Some(name) = text("/secret/secretName") {
            self.kubelet("secret", name)
        } else {
            bail!("volumes of this kind are not known here: {volume}");
        };
        let path = mount.get("mountPath").and_then(Value::as_str).context("no mountPath")?;
        let read_only = mount.get("readOnly").is_some_and(|flag| *flag == true);
        let propagation = match mount.get("mountPropagation").and_then(Value::as_str) {
            None | Some("None") => "rprivate",
            Some("Bidirectional") => "rshared",
            Some("HostToContainer") => "rslave",
            Some(other) => bail!("mountPropagation {other}"),
        };
        let access = if read_only { "ro" } else { "rw" };
        Ok(format!("{}:{path}:{access},{propagation}", source.display()))
    }

    /// Runs a command in an application's container, which sees the directory of the node at `/data` as it is while mounts come and
    /// go (`HostToContainer`), and returns what it printed.
    ///
    /// # Errors
    /// When it fails, or takes more than a minute.
    pub fn application(&self, directory: &str, command: &[&str]) -> Result<String> {
        let volume = format!("{}:/data:ro,rslave", self.path(directory).display());
        let (program, arguments) = command.split_first().context("a command")?;
        let image = Image::Full.name();
        let mut all =
            vec!["run", "--rm", "--network=none", "--volume", &volume, "--entrypoint", program, &image];
        all.extend(arguments);
        self.containers.podman(&all)
    }
}

fn list<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    object.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn network(pod: &Value) -> Option<String> {
    let host = pod.get("hostNetwork").is_some_and(|flag| *flag == true);
    // The servers of the tests are on loopback, which a network of its own would not reach.
    Some(if host { "--network=host" } else { "--network=none" }.to_owned())
}

/// A container that was started. Dropping it ends and removes it.
#[derive(Debug)]
pub struct Container<'a> {
    node: &'a Node<'a>,
    name: String,
    pod: Value,
}

impl Container<'_> {
    /// Its log so far.
    ///
    /// # Errors
    /// When podman fails.
    pub fn log(&self) -> Result<String> {
        let printed = run(script(60, "podman", &self.node.containers.dir).args(["logs", &self.name]))?;
        Ok(printed.standard + &printed.error)
    }

    /// Runs a command in it, as kubelet does for `exec` probes and hooks, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message carries what it said.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.node.containers.podman(&[&["exec", &self.name], command].concat())
    }

    /// Runs the `exec` of one of the container's hooks or probes, by its place in the container's spec.
    ///
    /// # Errors
    /// When there is none, or it fails.
    pub fn exec_of(&self, place: &str) -> Result<String> {
        let command =
            self.pod.pointer(&format!("/containers/0{place}/exec/command")).and_then(Value::as_array);
        let command = command.with_context(|| format!("the pod has no {place}"))?;
        self.exec(&command.iter().filter_map(Value::as_str).collect::<Vec<_>>())
    }

    /// Runs its preStop hook, which ends it by unmounting. What is left of the hook is killed with the container then (137), on Kubernetes too.
    ///
    /// # Errors
    /// When there is none, or it fails in another way.
    pub fn pre_stop(&self) -> Result<()> {
        match self.exec_of("/lifecycle/preStop") {
            Err(error) if error.to_string().contains("exit status: 137") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits until the kernel's table of the node shows a mount at the path, as Fluid's CSI plugin waits for it.
    ///
    /// # Errors
    /// When none comes; the message carries the log.
    pub fn wait_mounted(&self, path: &str) -> Result<()> {
        let target = self.node.path(path);
        let mounted = wait_for("the mount on the node", RECOVERY, || {
            let found = crate::mountinfo::at(&target).is_ok_and(|entries| !entries.is_empty());
            if found { Some(true) } else { self.exit_code().map(|_| false) }
        });
        match mounted {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the container ended before it had mounted; its log:\n{}", self.log()?),
            Err(error) => Err(error.context(format!("its log:\n{}", self.log().unwrap_or_default()))),
        }
    }

    /// Waits for a line of the log that has all `parts`.
    ///
    /// # Errors
    /// When none comes; the message carries the log.
    pub fn wait_log(&self, parts: &[&str]) -> Result<String> {
        let mut log = String::new();
        wait_for(&format!("{parts:?} in the log"), SOON, || {
            log = self.log().unwrap_or_default();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
        .with_context(|| format!("the log:\n{log}"))
    }

    /// Its exit code, if it has ended.
    fn exit_code(&self) -> Option<i32> {
        let state = ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &self.name];
        self.node.containers.podman(&state).ok()?.trim().strip_prefix("exited ")?.parse().ok()
    }

    /// Waits until it has ended, and returns its exit code.
    ///
    /// # Errors
    /// When it has not within `bound`.
    pub fn ended(&self, bound: Duration) -> Result<i32> {
        wait_for("the container's end", bound, || self.exit_code())
            .with_context(|| format!("its log:\n{}", self.log().unwrap_or_default()))
    }

    /// The id of its first process, as this machine knows it.
    ///
    /// # Errors
    /// When podman fails.
    pub fn process(&self) -> Result<u32> {
        let id = self.node.containers.podman(&["inspect", "--format", "{{.State.Pid}}", &self.name])?;
        Ok(id.trim().parse()?)
    }

    /// SIGTERM, as kubelet sends it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.node.containers.podman(&["kill", "--signal=TERM", &self.name]).map(drop)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        eprintln!("--- log of container {}\n{}---", self.name, self.log().unwrap_or_default());
        // Should this fail, the script that made the storage ends it.
        let _ = self.node.containers.podman(&["rm", "--force", "--time", "5", &self.name]);
    }
}

fn script(bound: u32, action: &str, dir: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &bound.to_string()]);
    command.arg(paths::repository().join("tests/servers/containers")).arg(action).arg(dir);
    command
}

/// What a command printed to its two streams.
struct Printed {
    standard: String,
    error: String,
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<Printed> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (standard, error) = (text(output.stdout), text(output.stderr));
    ensure!(output.status.success(), "{command:?} ended with {}: {standard}{error}", output.status);
    Ok(Printed { standard, error })
}
