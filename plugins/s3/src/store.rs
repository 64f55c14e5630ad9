//! The three functions of an object store, on top of one bucket's client.

use crate::client::{Call, Client};
use crate::credentials::Credentials;
use crate::credentials::plan::Plan;
use crate::entity;
use crate::listing;
use crate::options::{self, Config};
use wasmount_sdk::{
    Description, Error, GetOutcome, GetRequest, HeadOutcome, Info, ListPage, ListRequest, Listing, Mount,
    ObjectCapabilities, ObjectInfo, ObjectStore, Pinning, Result, log,
};

/// Longest key of S3, in bytes.
const MAX_KEY: u32 = 1024;

/// An open bucket.
#[derive(Debug)]
pub struct S3(Client);

impl ObjectStore for S3 {
    fn describe() -> Description {
        options::description()
    }

    async fn open(mut mount: Mount) -> Result<(Self, Info)> {
        let config = Config::new(&mount)?;
        let (plan, warnings) = Plan::new(&mount, config.credentials, &config.region)?;
        let credentials = Credentials::new(plan, &mut mount.settings)?;
        let prefix = u32::try_from(config.location.prefix.len()).unwrap_or(u32::MAX);
        let max_key = MAX_KEY.checked_sub(prefix).filter(|rest| *rest > 0).ok_or_else(|| {
            Error::invalid(format!("the prefix in mountPoint is longer than the {MAX_KEY} bytes of a key"))
        })?;
        let capabilities = ObjectCapabilities {
            listing: Listing {
                ordered: true,
                delimiter: true,
                start_after: true,
                page: listing::MAX_PAGE,
                consistent: true,
            },
            pinning: Pinning::Current,
            ranges: true,
            max_key,
            writing: None,
        };
        let info = Info::new(config.identity(), config.title(), capabilities);
        let info =
            config.warnings.iter().chain(&warnings).fold(info, |info, sentence| info.warning(sentence));
        let store = Self(Client::new(config, credentials));
        // One key of a listing proves endpoint, bucket, region and credentials at once.
        store.check().await?;
        Ok((store, info))
    }

    async fn list(&self, request: ListRequest) -> Result<ListPage> {
        let config = &self.0.config;
        let url = listing::url(&config.address, &config.location, &request);
        let continuation = request.continuation.as_deref();
        let call = Call { continues: continuation.is_some(), ..Call::new("GET", &url) };
        let page = self.0.text(&call, listing::MAX_BYTES).await?;
        let listed = listing::parse(&page, &config.location, continuation);
        let listed = listed.map_err(|error| error.context(config.title()))?;
        if listed.unreadable > 0 {
            let (number, prefix) = (listed.unreadable, &request.prefix);
            log::warn(&format!("{number} names under {prefix:?} are not UTF-8 and are not shown"));
        }
        Ok(listed.page)
    }

    async fn head(&self, key: String, unless: Option<String>) -> Result<HeadOutcome> {
        let full = self.0.config.location.key(&key);
        let url = self.0.config.address.object(&full);
        let call = Call { key: Some(&full), unless: unless.as_deref(), ..Call::new("HEAD", &url) };
        let response = self.0.send(&call).await?;
        let metadata = entity::metadata(&response.headers);
        Ok(match response.into_head(key)? {
            HeadOutcome::Found(info) => HeadOutcome::Found(ObjectInfo { metadata, ..info }),
            HeadOutcome::Unchanged => HeadOutcome::Unchanged,
        })
    }

    async fn get(&self, request: GetRequest) -> Result<GetOutcome> {
        let full = self.0.config.location.key(&request.key);
        let url = self.0.config.address.object(&full);
        let call = Call {
            key: Some(&full),
            range: request.range.as_ref(),
            pin: request.pin.as_deref(),
            unless: request.unless.as_deref(),
            ..Call::new("GET", &url)
        };
        let outcome = self.0.send(&call).await?.into_get(request.key)?;
        match (outcome, request.pin) {
            // Not every store that claims to speak S3 heeds `if-match`.
            (GetOutcome::Found(found), Some(pin)) if found.object.version.as_deref() != Some(&*pin) => {
                Err(Error::stale(format!("{full:?} is not version {pin:?} any more")))
            }
            (outcome, _) => Ok(outcome),
        }
    }
}
