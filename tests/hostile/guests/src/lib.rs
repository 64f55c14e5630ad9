//! A plugin that does whatever the name of an object says, good or bad. The sandbox's tests run it.
//!
//! `get` of a key of `misdeeds` misbehaves in that way; any other key is an honest object of `SIZE` zero bytes. A
//! listing's prefix chooses in the same way.

mod misdeeds;
mod wires;

use wasmount_sdk::{
    Body, Description, Endpoint, Error, GetOutcome, GetRequest, GetResponse, HeadOutcome, Info, ListPage,
    ListRequest, Mount, Object, ObjectCapabilities, ObjectInfo, ObjectStore, Options, Piece, Result, Secret,
    log,
};

/// Bytes of every honest object.
const SIZE: u64 = 16 << 20;

/// Version of every honest object.
const VERSION: &str = "v1";

/// What a listing of the root shows: two honest objects, misdeeds, and an honest `after-…` for each of them.
const NAMES: &[&str] = &[
    "one",
    "two",
    "alloc",
    "bogus-handle",
    "endless",
    "hang",
    "long",
    "panic",
    "recurse",
    "short",
    "spin",
    "spin-async",
    "trap",
    "wrong-key",
    "wrong-offset",
];

struct Hostile {
    secret: Option<Secret>,
}

fn honest(key: &str) -> Object {
    Object { key: key.into(), size: SIZE, version: Some(VERSION.into()), modified: None }
}

fn answer(object: Object, offset: u64, content: Body) -> Result<GetOutcome> {
    Ok(GetOutcome::Found(GetResponse { object, offset, content }))
}

impl ObjectStore for Hostile {
    fn describe() -> Description {
        let options = Options::new()
            .endpoint("endpoint", "Where `connect:` may connect to.")
            .alias("url")
            .text("mode", "How to behave in `open`: `fail`, `trap`, `spin`, `hang`.")
            .default_value("good")
            .integer("number", 1..=10, "A number.")
            .text("elsewhere", "`HOST:PORT` of an origin that a template names, and no option.")
            .secret("secret", "A secret.")
            .sent_to(&["endpoint"])
            .secret("confession", "A secret that the plugin sees.")
            .reveal()
            .file_content("file", "A file.");
        let mut description = Description::new("hostile", "0.0.0", "Misbehaves on request")
            .scheme("hostile")
            .options(options)
            .origin_template("http://{elsewhere}", &["GET"]);
        description.network.tcp = true;
        description.network.revealed_addresses = Some("the tests reveal some to it".into());
        description
    }

    async fn open(mut mount: Mount) -> Result<(Self, Info)> {
        let mode = mount.settings.text("mode")?.to_owned();
        match mode.as_str() {
            "fail" => return Err(Error::unavailable("open was asked to fail")),
            "trap" => misdeeds::trap(),
            "spin" => misdeeds::spin(),
            "hang" => std::future::pending().await,
            _ => {}
        }
        log::info(&format!("entry {}", mount.entry));
        // What it got hold of. The host hides what it knows as a secret; lengths tell all the same.
        log::info(&format!("mode {mode}"));
        if let Some(content) = mount.settings.optional_content("file")? {
            log::info(&format!(
                "file of {} bytes: {:?}",
                content.len(),
                content.copy_out(0, content.len().min(64))?
            ));
        }
        if let Some(confession) = mount.settings.optional_secret("confession")? {
            log::info(&format!("confession of {} bytes", confession.reveal()?.len()));
        }
        let secret = mount.settings.optional_secret("secret")?;
        let endpoint =
            mount.settings.optional_endpoint("endpoint")?.map(Endpoint::origin).unwrap_or_default();
        // The tests read here what the plugin was told.
        let title = format!("hostile {endpoint} {}", mount.entry);
        Ok((Self { secret }, Info::new("hostile", title, ObjectCapabilities::read_only())))
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        let page = |keys: Vec<String>| {
            let objects = keys.iter().map(|key| honest(key)).collect();
            Ok(ListPage { objects, prefixes: vec![], next: None })
        };
        match request.prefix.as_str() {
            "page-too-large/" => page((0..=request.limit).map(|i| format!("page-too-large/{i}")).collect()),
            "outside/" => page(vec!["elsewhere".into()]),
            "huge/" => {
                page((0..request.limit).map(|i| format!("huge/{i}/{}", "x".repeat(100_000))).collect())
            }
            "endless/" => Ok(ListPage { objects: vec![], prefixes: vec![], next: Some("again".into()) }),
            "trap/" => misdeeds::trap(),
            // So that every misdeed can be reached through a mount: its name is listed, and any name can be looked up.
            "" => page(NAMES.iter().flat_map(|name| [format!("after-{name}"), (*name).to_owned()]).collect()),
            name if !name.ends_with('/') => page(vec![name.into()]),
            prefix => page(vec![format!("{prefix}one"), format!("{prefix}two")]),
        }
    }

    async fn head(&self, key: String, unless: Option<String>) -> Result<HeadOutcome> {
        match key.as_str() {
            "unchanged" => return Ok(HeadOutcome::Unchanged),
            "long-message" => return Err(Error::other(format!("line\n{}", "x".repeat(100_000)))),
            "reveal" => {
                let shown = self.secret.as_ref().map(Secret::reveal).transpose()?;
                return Err(Error::other(format!("revealed {shown:?}")));
            }
            "hmac" => {
                let Some(secret) = &self.secret else { return Err(Error::not_found("the secret")) };
                let hash = wasmount_sdk::Hash::Sha256;
                let mac = secret.hmac(hash, wasmount_sdk::Encoding::Raw, b"", b"data")?;
                return Err(Error::other(mac.iter().map(|b| format!("{b:02x}")).collect::<String>()));
            }
            _ => {}
        }
        if unless.as_deref() == Some(VERSION) {
            return Ok(HeadOutcome::Unchanged);
        }
        Ok(HeadOutcome::Found(ObjectInfo { object: honest(&key), metadata: vec![], content_type: None }))
    }

    async fn get(&self, request: GetRequest) -> Result<GetOutcome> {
        let (offset, length) = match request.range {
            Some(range) => {
                (range.offset, range.length.unwrap_or(SIZE - range.offset).min(SIZE - range.offset))
            }
            None => (0, SIZE),
        };
        let zeros = |length: u64| Body::assemble(vec![Piece::Zeros(length)]);
        let object = honest(&request.key);
        match request.key.split_once(':').unwrap_or((&request.key, "")) {
            ("short", _) => answer(object, offset, zeros(length - 1)?),
            ("long", _) => answer(object, offset, zeros(length + 1)?),
            ("endless", _) => answer(object, offset, zeros(1 << 60)?),
            ("wrong-offset", _) => answer(object, offset + 1, zeros(length)?),
            ("wrong-key", _) => answer(honest("another"), offset, zeros(length)?),
            ("wrong-version", _) => {
                answer(Object { version: Some("v2".into()), ..object }, offset, zeros(length)?)
            }
            ("sleep", ms) => {
                wasmount_sdk::system::sleep(ms.parse().unwrap_or(0)).await;
                answer(object, offset, zeros(length)?)
            }
            ("connect", url) => misdeeds::connect(object, url).await,
            // The same as a file name, which has no slashes.
            ("connect-to", address) => misdeeds::connect(object, &format!("http://{address}/")).await,
            // The same with the secret in a header.
            ("send-secret-to", address) => {
                let Some(secret) = &self.secret else { return Err(Error::not_found("the secret")) };
                misdeeds::send(object, address, secret).await
            }
            ("tcp", argument) => {
                let (what, address) = argument.split_once('/').unwrap_or((argument, ""));
                let content = wires::speak(what, address).await?;
                match content {
                    Some(content) => {
                        let size = content.len().unwrap_or(0);
                        answer(Object { size, ..object }, 0, content)
                    }
                    None => answer(object, offset, zeros(length)?),
                }
            }
            ("ciphers", _) => {
                wires::ciphers()?;
                answer(object, offset, zeros(length)?)
            }
            (misdeed, _) => {
                misdeeds::commit(misdeed).await?;
                answer(object, offset, zeros(length)?)
            }
        }
    }
}

wasmount_sdk::export_object_store!(Hostile);
