//! An S3 server inside this process, over a directory: the crates `s3s` and `s3s-fs`.
//!
//! Good for a demo and for quick tests. It is no judge of correctness: that is a real MinIO's part.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    CreateBucketInput, CreateBucketOutput, EncodingType, GetObjectInput, GetObjectOutput, HeadBucketInput,
    HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use tokio::net::TcpListener;

use crate::s3::{Credentials, encode};

/// Serves the directories below `root` as buckets on a free loopback port until the runtime is dropped, and
/// returns the address.
///
/// # Errors
/// When `root` cannot be used or no port is free.
pub async fn serve(root: &Path, credentials: &Credentials) -> Result<SocketAddr> {
    let store = s3s_fs::FileSystem::new(root).map_err(|error| anyhow!("{}: {error:?}", root.display()))?;
    let mut builder = S3ServiceBuilder::new(Completed(store));
    builder.set_auth(SimpleAuth::from_single(credentials.access_key.clone(), credentials.secret_key.clone()));
    let service = builder.build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                // A connection that breaks concerns only its client.
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

/// The directory store, with what its listings lack and S3's have: entity tags, and names encoded when asked for.
struct Completed(s3s_fs::FileSystem);

#[async_trait::async_trait]
impl S3 for Completed {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = request.input.bucket.clone();
        let encoded =
            request.input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
        let mut response = self.0.list_objects_v2(request.clone()).await?;
        for object in response.output.contents.iter_mut().flatten() {
            let Some(key) = object.key.clone() else { continue };
            let input = HeadObjectInput { bucket: bucket.clone(), key: key.clone(), ..Default::default() };
            let head = self.0.head_object(request.clone().map_input(|_| input)).await?;
            object.e_tag = head.output.e_tag;
            if encoded {
                object.key = Some(encode::path(&key));
            }
        }
        for group in response.output.common_prefixes.iter_mut().flatten().filter(|_| encoded) {
            group.prefix = group.prefix.as_deref().map(encode::path);
        }
        Ok(response)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.0.head_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.0.get_object(request).await
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.0.put_object(request).await
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.0.head_bucket(request).await
    }

    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.0.create_bucket(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Client;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn its_listings_are_like_those_of_s3() {
        let dir = tempfile::tempdir().unwrap();
        let address = serve(dir.path(), &Credentials::minio()).await.unwrap();
        let client = Client::new(&format!("http://{address}"), Credentials::minio(), None).unwrap();
        let work = move || -> Result<()> {
            client.make_bucket("bucket")?;
            client.put("bucket", "a dir/100%+ž", b"content")?;
            assert_eq!(client.list("bucket", "a dir/")?, ["a dir/100%+ž"]);
            assert_eq!(client.get("bucket", "a dir/100%+ž")?, b"content");
            assert!(client.page("bucket", "")?.contains("<ETag>"));
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.unwrap().unwrap();
    }
}
