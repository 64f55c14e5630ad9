//! Files behind any HTTP server that knows ranges and ETags (nginx, Apache, a CDN), listed in a file `index.txt` beside them:
//! `find . -type f -printf '%P\n' | LC_ALL=C sort > index.txt`.

use wasmount_sdk::http::{Request, Response};
use wasmount_sdk::*;

struct StaticSite {
    base: String,
}

impl ObjectStore for StaticSite {
    fn describe() -> Description {
        let options =
            Options::new().endpoint("url", "Where the files are: `https://example.com/files`.").required();
        Description::new(
            "static-site",
            env!("CARGO_PKG_VERSION"),
            "Files on a web server, listed in index.txt",
        )
        .scheme("site")
        .options(options)
    }

    async fn open(mount: Mount) -> Result<(Self, Info)> {
        let url = mount.settings.endpoint("url")?;
        let site = Self { base: format!("{}{}", url.origin(), url.path.trim_end_matches('/')) };
        site.check().await.map_err(|error| error.context("option url"))?;
        let info = Info::new(&*site.base, format!("files on {}", site.base), ObjectCapabilities::read_only());
        Ok((site, info))
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        let index = self.send("index.txt", |url| Ok(Request::get(url))).await?.text(16 << 20).await?;
        let after = request.continuation.unwrap_or_default();
        let mut keys = index.lines().filter(|key| key.starts_with(&request.prefix) && **key > *after);
        let page: Vec<&str> = keys.by_ref().take(request.limit as usize).collect();
        let next = keys.next().and(page.last()).map(|key| (*key).to_owned());
        let mut objects = vec![];
        for answer in join_all(page.into_iter().map(|key| self.head(key.to_owned(), None))).await {
            match answer {
                Ok(HeadOutcome::Found(info)) => objects.push(info.object),
                Ok(HeadOutcome::Unchanged) => {}
                Err(error) if error.kind == ErrorKind::NotFound => {} // removed since the index was made
                Err(error) => return Err(error),
            }
        }
        Ok(ListPage { objects, prefixes: vec![], next })
    }

    async fn head(&self, key: String, unless: Option<String>) -> Result<HeadOutcome> {
        let request = |url| Ok(Request::head(url).if_none_match(unless.as_deref()));
        self.send(&key, request).await?.into_head(key)
    }

    async fn get(&self, get: GetRequest) -> Result<GetOutcome> {
        let request = |url| {
            let conditions =
                Request::get(url).if_match(get.pin.as_deref()).if_none_match(get.unless.as_deref());
            conditions.range(get.range.as_ref())
        };
        self.send(&get.key, request).await?.into_get(get.key)
    }
}

impl StaticSite {
    async fn send(
        &self,
        key: &str,
        request: impl Fn(String) -> Result<Request<'static>>,
    ) -> Result<Response> {
        let url = format!("{}/{}", self.base, percent::encode_path(key));
        let attempt = || async { request(url.clone())?.send().await?.success(key) };
        retry(retry::Policy::default(), attempt).await
    }
}

export_object_store!(StaticSite);
