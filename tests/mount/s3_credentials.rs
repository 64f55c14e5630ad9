//! Credentials that come and go while a bucket is mounted: files that are replaced, web identity at a real STS, the endpoint of a container, and
//! the metadata service of an instance. Readers must not notice.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmount_tests::bounded::{RECOVERY, SOON, read, reads_back, wait_for, within};
use wasmount_tests::config::{FluidFiles, SECRETS};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::oidc::{Issuer, assume_role};
use wasmount_tests::paths;
use wasmount_tests::s3::Credentials;
use wasmount_tests::scripted::{Answer, Server};

const BUCKET: &str = "bucket";
/// Objects of the reader, each read once, so that no cache answers.
const OBJECTS: usize = 1500;
/// For tests that read a few.
const FEW: usize = 160;
/// Credentials that are younger are not replaced when the store refuses them.
const SETTLED: Duration = Duration::from_secs(11);

fn fill(minio: &Minio, objects: usize) -> Result<()> {
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    (0..objects).try_for_each(|number| client.put(BUCKET, &key(number), content(number).as_bytes()))
}

fn key(number: usize) -> String {
    format!("d{:02}/object-{number:04}", number % 40)
}

fn content(number: usize) -> String {
    format!("content of {number}")
}

fn user(name: &str) -> Credentials {
    Credentials { access_key: name.to_owned(), secret_key: format!("secret-of-{name}") }
}

/// Reads object after object until it is told to stop; every error and every wrong byte is kept.
struct Reader {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<(Vec<String>, Duration)>,
}

impl Reader {
    fn start(mount: &Mount) -> Self {
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, counting, root) = (Arc::clone(&stop), Arc::clone(&read), mount.path(""));
        let thread = std::thread::spawn(move || {
            let (mut faults, mut longest) = (Vec::new(), Duration::ZERO);
            for number in 0..OBJECTS {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let began = Instant::now();
                match std::fs::read(root.join(key(number))) {
                    Ok(bytes) if bytes == content(number).as_bytes() => {}
                    Ok(_) => faults.push(format!("{number}: other bytes")),
                    Err(error) => faults.push(format!("{number}: {error}")),
                }
                longest = longest.max(began.elapsed());
                counting.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(40));
            }
            (faults, longest)
        });
        Self { stop, read, thread }
    }

    /// Waits until so many more objects have been read.
    fn reads_on(&self, more: u64) -> Result<()> {
        let until = self.read.load(Ordering::SeqCst) + more;
        wait_for("the reader goes on", Duration::from_secs(60), || {
            (self.read.load(Ordering::SeqCst) >= until).then_some(())
        })
    }

    /// Ends it; there must have been no error. The longest time one object took.
    fn end(self) -> Result<Duration> {
        self.stop.store(true, Ordering::SeqCst);
        let (faults, longest) = self.thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        ensure!(faults.is_empty(), "the reader saw {} errors: {:?}", faults.len(), faults.first());
        Ok(longest)
    }
}

/// Replaces the files of a Secret's volume all at once, as the kubelet does it.
fn publish(files: &FluidFiles, secret: &str, generation: u32, values: &[(&str, &str)]) -> Result<()> {
    let volume = files.secrets_dir().join(secret);
    let stamped = format!("..2026_01_01_00_00_{generation:02}");
    std::fs::create_dir_all(volume.join(&stamped))?;
    for (name, value) in values {
        std::fs::write(volume.join(&stamped).join(name), value)?;
        if volume.join(name).symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), volume.join(name))?;
        }
    }
    symlink(&stamped, volume.join("..data_tmp"))?;
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data"))?;
    Ok(())
}

/// One mount of the bucket with these options.
fn write_mount(files: &FluidFiles, minio: &Minio, options: Value) -> Result<()> {
    let mut all = json!({"endpoint": minio.endpoint(), "region": "us-east-1"});
    for (name, value) in options.as_object().context("options")? {
        all[name] = value.clone();
    }
    files.write_mounts(&[json!({"mountPoint": format!("s3://{BUCKET}"), "name": "only", "options": all})])
}

/// Nothing is fetched ahead: each object is asked for when it is read.
fn launch(files: &FluidFiles) -> Result<Launch> {
    Ok(Launch::run(files)?.arg("--prefetch-files").arg("0"))
}

fn is_silent_about(mount: &Mount, secrets: &[&str]) -> Result<()> {
    let config = read(mount.path(".wasmount/config"))??;
    for secret in secrets {
        ensure!(!mount.log().text().contains(secret), "a secret is in the log");
        ensure!(!String::from_utf8_lossy(&config).contains(secret), "a secret is in .wasmount/config");
    }
    Ok(())
}

#[test]
fn keys_that_are_replaced_on_the_server_first_and_then_in_the_files_disturb_no_reader() -> Result<()> {
    let minio = Minio::start()?;
    fill(&minio, OBJECTS)?;
    let (client, files) = (minio.client()?, FluidFiles::new()?);
    let (old, new) = (user("keys-old"), user("keys-new"));
    client.add_user(&old)?;
    publish(&files, "s3", 1, &[("ak", &old.access_key), ("sk", &old.secret_key)])?;
    let keys = json!({"access-key": format!("{SECRETS}/s3/ak"), "secret-key": format!("{SECRETS}/s3/sk")});
    write_mount(&files, &minio, keys)?;
    let mount = launch(&files)?.start()?;
    let reader = Reader::start(&mount);
    reader.reads_on(50)?;

    // The kubelet needs a while; until then the mount has nothing that the server knows.
    client.add_user(&new)?;
    client.remove_user(&old.access_key)?;
    std::thread::sleep(Duration::from_secs(4));
    publish(&files, "s3", 2, &[("ak", &new.access_key), ("sk", &new.secret_key)])?;
    reader.reads_on(100)?;

    // The usual order: both are good for a while.
    let newest = user("keys-newest");
    client.add_user(&newest)?;
    publish(&files, "s3", 3, &[("ak", &newest.access_key), ("sk", &newest.secret_key)])?;
    client.remove_user(&new.access_key)?;
    reader.reads_on(100)?;
    let longest = reader.end()?;
    println!("keys replaced 4 s late: the longest read took {longest:?}");
    ensure!(longest >= Duration::from_secs(3), "no reader met the gap, so nothing was shown: {longest:?}");
    is_silent_about(&mount, &[&old.secret_key, &new.secret_key, &newest.secret_key])
}

#[test]
fn keys_that_are_gone_for_good_are_waited_for_once() -> Result<()> {
    let minio = Minio::start()?;
    fill(&minio, FEW)?;
    let (client, files) = (minio.client()?, FluidFiles::new()?);
    let (old, new) = (user("gone-old"), user("gone-new"));
    client.add_user(&old)?;
    publish(&files, "s3", 1, &[("ak", &old.access_key), ("sk", &old.secret_key)])?;
    let keys = json!({"access-key": format!("{SECRETS}/s3/ak"), "secret-key": format!("{SECRETS}/s3/sk")});
    write_mount(&files, &minio, keys)?;
    let mount = launch(&files)?.start()?;
    assert_eq!(read(mount.path(&key(0)))??, content(0).as_bytes());
    client.remove_user(&old.access_key)?;

    let fails = |number: usize| -> Result<(Option<i32>, Duration)> {
        let began = Instant::now();
        let path = mount.path(&key(number));
        let result = within("a refusal", RECOVERY, move || std::fs::read(path))?;
        let error = result.err().context("nobody can have read that")?;
        Ok((error.raw_os_error(), began.elapsed()))
    };
    let (errno, took) = fails(40)?;
    assert_eq!(errno, Some(13), "EACCES");
    ensure!(took > Duration::from_secs(15), "it was not waited for: {took:?}");
    let (errno, took) = fails(80)?;
    assert_eq!(errno, Some(13), "EACCES");
    ensure!(took < Duration::from_secs(15), "it was waited for again: {took:?}");

    client.add_user(&new)?;
    publish(&files, "s3", 2, &[("ak", &new.access_key), ("sk", &new.secret_key)])?;
    reads_back(mount.path(&key(120)), content(120).as_bytes(), RECOVERY)
}

#[test]
fn session_tokens_are_replaced_together_with_their_keys() -> Result<()> {
    let issuer = Issuer::start()?;
    let minio = Minio::start_configured(issuer.minio_environment())?;
    fill(&minio, OBJECTS)?;
    let (client, files) = (minio.client()?, FluidFiles::new()?);
    let published = |generation, subject: &str| -> Result<String> {
        let session = assume_role(&minio.endpoint(), &issuer.token(subject, 3600)?)?;
        let values = [("ak", &*session.access_key), ("sk", &*session.secret_key), ("token", &*session.token)];
        publish(&files, "s3", generation, &values)?;
        Ok(session.token)
    };
    let first = published(1, "one")?;
    let reference = |name| format!("{SECRETS}/s3/{name}");
    let keys = json!({"access-key": reference("ak"), "secret-key": reference("sk"), "session-token": reference("token")});
    write_mount(&files, &minio, keys)?;
    let mount = launch(&files)?.start()?;
    let reader = Reader::start(&mount);
    reader.reads_on(50)?;
    let second = published(2, "two")?;
    client.revoke_sessions(&issuer.minio_user("one"))?;
    reader.reads_on(100)?;
    println!("session replaced: the longest read took {:?}", reader.end()?);
    is_silent_about(&mount, &[&first, &second])
}

/// A MinIO that trusts an issuer, and a token of it in a file outside the secrets directory.
struct Cluster {
    issuer: Issuer,
    minio: Minio,
    files: FluidFiles,
    token_file: PathBuf,
}

impl Cluster {
    fn new(objects: usize) -> Result<Self> {
        let issuer = Issuer::start()?;
        let minio = Minio::start_configured(issuer.minio_environment())?;
        fill(&minio, objects)?;
        let files = FluidFiles::new()?;
        let token_file = files.root().join("projected-token");
        Ok(Self { issuer, minio, files, token_file })
    }

    fn write_token(&self, subject: &str, seconds: i64) -> Result<String> {
        let token = self.issuer.token(subject, seconds)?;
        let fresh = self.token_file.with_extension("new");
        std::fs::write(&fresh, &token)?;
        std::fs::rename(fresh, &self.token_file)?;
        Ok(token)
    }

    /// The operator names role, token and STS; the Dataset only the bucket.
    fn launch(&self) -> Result<Launch> {
        let token_file = self.token_file.display().to_string();
        Ok(launch(&self.files)?
            .long_option("s3:credentials", "web-identity")
            .long_option("s3:role-arn", &Issuer::minio_role())
            .long_option("s3:web-identity-token-file", &token_file))
    }
}

#[test]
fn web_identity_survives_revoked_sessions_new_tokens_and_new_signing_keys() -> Result<()> {
    let cluster = Cluster::new(OBJECTS)?;
    let (minio, issuer) = (&cluster.minio, &cluster.issuer);
    let first = cluster.write_token("system:serviceaccount:one", 3600)?;
    write_mount(&cluster.files, minio, json!({}))?;
    let mount = cluster.launch()?.long_option("s3:sts-endpoint", &minio.endpoint()).start()?;
    let reader = Reader::start(&mount);
    reader.reads_on(50)?;

    std::thread::sleep(SETTLED);
    issuer.rotate()?;
    let second = cluster.write_token("system:serviceaccount:two", 3600)?;
    let client = minio.client()?;
    client.revoke_sessions(&issuer.minio_user("system:serviceaccount:one"))?;
    reader.reads_on(100)?;

    std::thread::sleep(SETTLED);
    client.revoke_sessions(&issuer.minio_user("system:serviceaccount:two"))?;
    reader.reads_on(100)?;
    let longest = reader.end()?;
    println!("sessions revoked twice: the longest read took {longest:?}");
    ensure!(longest < Duration::from_secs(30), "{longest:?}");
    is_silent_about(&mount, &[&first, &second])
}

#[test]
fn a_token_that_has_expired_is_named_and_a_new_one_is_enough() -> Result<()> {
    let cluster = Cluster::new(FEW)?;
    let expired = cluster.write_token("late", -60)?;
    write_mount(&cluster.files, &cluster.minio, json!({}))?;
    let mount = cluster.launch()?.long_option("s3:sts-endpoint", &cluster.minio.endpoint()).start()?;
    let line = mount.log().wait_for(&["web identity at", &cluster.minio.endpoint()], SOON)?;
    ensure!(!line.contains(&expired), "the token is in the log");
    ensure!(read(mount.path(&key(0)))?.is_err());
    cluster.write_token("late", 3600)?;
    reads_back(mount.path(&key(0)), content(0).as_bytes(), RECOVERY)
}

#[test]
fn nobody_but_the_operator_says_where_the_operators_token_is_sent() -> Result<()> {
    let cluster = Cluster::new(FEW)?;
    let token = cluster.write_token("operator", 3600)?;
    let thief = Server::start(|_| Answer::new(200, "thanks"))?;
    write_mount(&cluster.files, &cluster.minio, json!({"sts-endpoint": thief.endpoint()}))?;
    let mount = cluster.launch()?.start()?;
    let refusal =
        ["`sts-endpoint` stands in", "only the operator may say where a secret of the operator's is sent"];
    mount.log().wait_for(&refusal, SOON)?;
    ensure!(read(mount.path(&key(0)))?.is_err());
    ensure!(thief.requests().is_empty(), "the thief was asked");
    drop(mount);

    // Fluid writes the options of a ThinRuntime, which is the namespace's, into both of these.
    write_mount(&cluster.files, &cluster.minio, json!({}))?;
    let environment = format!("MOUNT_OPTIONS=ro,sts-endpoint={}", thief.endpoint());
    let mount = cluster.launch()?.under("env", &[&environment]).start()?;
    mount.log().wait_for(&[&refusal[..], &["MOUNT_OPTIONS"]].concat(), SOON)?;
    ensure!(read(mount.path(&key(0)))?.is_err());
    drop(mount);
    let text = std::fs::read_to_string(cluster.files.config_file())?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["runtimeOptions"] = json!({"sts-endpoint": thief.endpoint()});
    cluster.files.write_config(&config)?;
    let mount = cluster.launch()?.start()?;
    mount.log().wait_for(&[&refusal[..], &["runtimeOptions"]].concat(), SOON)?;
    ensure!(read(mount.path(&key(0)))?.is_err());
    // What the operator says wins, and nobody else is asked.
    drop(mount);
    let mount = cluster
        .launch()?
        .under("env", &[&environment])
        .long_option("s3:sts-endpoint", &cluster.minio.endpoint());
    let mount = mount.start()?;
    reads_back(mount.path(&key(0)), content(0).as_bytes(), RECOVERY)?;
    let config: Value = serde_json::from_slice(&read(mount.path(".wasmount/config"))??)?;
    let shown = &config["mounts"][0]["options"];
    assert_eq!(shown["web-identity-token"], format!("(the content of {})", cluster.token_file.display()));
    assert_eq!(shown["sts-endpoint"], cluster.minio.endpoint());
    ensure!(thief.requests().is_empty(), "the thief was asked");

    // Nor does a Dataset name a file of the node: that option is the operator's alone.
    let path = cluster.token_file.display().to_string();
    drop(mount);
    let all = json!({"sts-endpoint": thief.endpoint(), "web-identity-token-file": path, "role-arn": "r"});
    write_mount(&cluster.files, &cluster.minio, all)?;
    let mount = launch(&cluster.files)?.start()?;
    mount.log().wait_for(&["access-key and secret-key are missing"], SOON)?;
    ensure!(read(mount.path(&key(0)))?.is_err());
    let sent = thief.requests().iter().any(|request| String::from_utf8_lossy(&request.body).contains(&token));
    ensure!(!sent, "the token was sent");
    Ok(())
}

fn in_seconds(seconds: u64) -> Result<String> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + seconds;
    let time = Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    Ok(String::from_utf8(time.stdout)?.trim().to_owned())
}

fn credentials(user: &Credentials, seconds: u64) -> Result<String> {
    let end = in_seconds(seconds)?;
    Ok(json!({"AccessKeyId": user.access_key, "SecretAccessKey": user.secret_key, "Expiration": end})
        .to_string())
}

#[test]
fn the_endpoint_of_a_container_is_asked_again_before_its_credentials_expire() -> Result<()> {
    let minio = Minio::start()?;
    fill(&minio, OBJECTS)?;
    let (client, files) = (minio.client()?, FluidFiles::new()?);
    let (old, new) = (user("container-old"), user("container-new"));
    client.add_user(&old)?;
    client.add_user(&new)?;
    let door = files.root().join("door");
    std::fs::write(&door, "first-door-token\n")?;
    let issued = Instant::now();
    let answer = credentials(&old, 45)?;
    let agent = Server::start(move |request| match request.header("authorization") {
        Some("first-door-token") if request.path == "/v1/credentials" => Answer::new(200, answer.clone()),
        _ => Answer::new(401, r#"{"code":"InvalidToken","message":"not this one"}"#),
    })?;
    write_mount(&files, &minio, json!({}))?;
    let mount = launch(&files)?
        .long_option("s3:credentials", "container")
        .long_option("s3:container-credentials-uri", &format!("{}/v1/credentials", agent.endpoint()))
        .long_option("s3:container-authorization-token-file", &door.display().to_string())
        .start()?;
    let reader = Reader::start(&mount);
    reader.reads_on(50)?;
    // A third of their time before their end they are renewed.
    let in_time = issued.elapsed() < Duration::from_secs(28);
    ensure!(!in_time || agent.requests().len() == 1, "one request for all readers");

    // Another token opens the door now, and behind it are other credentials.
    let answer = credentials(&new, 3600)?;
    agent.set_handler(move |request| match request.header("authorization") {
        Some("second-door-token") => Answer::new(200, answer.clone()),
        _ => Answer::new(401, r#"{"code":"InvalidToken","message":"not this one"}"#),
    });
    std::fs::write(&door, "second-door-token\n")?;
    wait_for("the credentials are renewed", Duration::from_secs(60), || {
        let last = agent.requests().pop()?;
        (last.header("authorization") == Some("second-door-token")).then_some(())
    })?;
    reader.reads_on(10)?;
    client.remove_user(&old.access_key)?;
    reader.reads_on(50)?;
    println!("container credentials renewed: the longest read took {:?}", reader.end()?);
    is_silent_about(&mount, &[&old.secret_key, &new.secret_key, "first-door-token", "second-door-token"])
}

#[test]
fn the_metadata_service_is_refused_unless_the_operator_allows_it() -> Result<()> {
    let minio = Minio::start()?;
    fill(&minio, FEW)?;
    let files = FluidFiles::new()?;
    write_mount(&files, &minio, json!({"credentials": "instance"}))?;
    let unallowed =
        || -> Result<Launch> { Ok(Launch::bare_run(&files).arg("--plugin").arg(paths::plugin("s3")?)) };
    let mount = unallowed()?.start()?;
    mount.log().wait_for(
        &["instance metadata at http://169.254.169.254", "a metadata service", "--allow-net"],
        SOON,
    )?;
    ensure!(read(mount.path(&key(0)))?.is_err());
    drop(mount);

    let reader = user("instance-user");
    minio.client()?.add_user(&reader)?;
    let document = credentials(&reader, 3600)?;
    let service = Server::start(move |request| {
        let session = request.header("x-aws-ec2-metadata-token") == Some("session==");
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token")
                if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
            {
                Answer::new(200, "session==")
            }
            ("GET", "/latest/meta-data/iam/security-credentials/") if session => Answer::new(200, "the-role"),
            ("GET", "/latest/meta-data/iam/security-credentials/the-role") if session => {
                Answer::new(200, document.clone())
            }
            _ => Answer::new(401, "no session"),
        }
    })?;
    // A service on loopback stands for it: refused for the same reason, and allowed by the same flag.
    let named = json!({"credentials": "instance", "instance-metadata": service.endpoint()});
    write_mount(&files, &minio, named)?;
    let mount = unallowed()?.start()?;
    mount.log().wait_for(&["instance metadata at", &service.endpoint(), "--allow-net"], SOON)?;
    ensure!(service.requests().is_empty(), "it was asked without a grant");
    drop(mount);
    let mount = launch(&files)?.start()?;
    reads_back(mount.path(&key(0)), content(0).as_bytes(), RECOVERY)?;
    // A session each time that it is asked, and an answer that takes long is not waited for.
    let asked = service.requests();
    let count = |path: &str| asked.iter().filter(|request| request.path == path).count();
    let sessions = count("/latest/api/token");
    let documents = count("/latest/meta-data/iam/security-credentials/the-role");
    ensure!(documents >= 1 && documents <= sessions && sessions <= 3, "{sessions} and {documents}");
    is_silent_about(&mount, &[&reader.secret_key])
}

#[test]
fn without_any_option_about_credentials_nobody_is_asked_for_them() -> Result<()> {
    let minio = Minio::start()?;
    fill(&minio, FEW)?;
    let files = FluidFiles::new()?;
    write_mount(&files, &minio, json!({}))?;
    let mount = launch(&files)?.start()?;
    mount.log().wait_for(&["access-key and secret-key are missing", "option credentials"], SOON)?;
    ensure!(!mount.log().text().contains("169.254"), "the metadata service was thought of");
    Ok(())
}

#[test]
fn inspect_says_where_credentials_come_from_and_what_the_plugin_sees() -> Result<()> {
    let output =
        Command::new(paths::wasmount()?).args(["plugin", "inspect"]).arg(paths::plugin("s3")?).output()?;
    let page = String::from_utf8(output.stdout)?;
    for part in [
        "https://sts.{region}.amazonaws.com",
        "http://169.254.169.254",
        "sts-endpoint",
        "container-credentials-uri",
        "web-identity-token",
        "in its own memory",
    ] {
        ensure!(page.contains(part), "{part} is not in\n{page}");
    }
    Ok(())
}
