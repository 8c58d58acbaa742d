//! The SDK's client, made when it is first needed, so that opening a storage needs no network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{
    Builder, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::sync::OnceCell;
use wl_core::error::Result;

use crate::config::Config;
use crate::trust;

/// The region that is asked where a bucket is, and the one that servers other than AWS mostly claim to be.
const ANY_REGION: &str = "us-east-1";
/// How long the server may take to begin its answer to a small request.
const ANSWER: Duration = Duration::from_secs(30);
/// The same where the request has a body, or has the server copy: all of it is counted.
const LONG_ANSWER: Duration = Duration::from_mins(20);
/// A body that does not move at all for so long is given up.
const STALLED: Duration = Duration::from_secs(20);

/// A client that is made when it is first asked for.
#[derive(Default)]
pub(crate) struct Lazy {
    made: OnceCell<(Client, SdkConfig)>,
    /// Whether the server walks directories, as its name tells: its flat listings are not in the order of the keys.
    pub walks: Arc<AtomicBool>,
}

impl Lazy {
    /// The client for objects.
    pub async fn s3(&self, config: &Config) -> Result<&Client> {
        self.get(config).await.map(|(client, _)| client)
    }

    /// What other services' clients are made of.
    #[cfg(feature = "notifications")]
    pub async fn sdk(&self, config: &Config) -> Result<&SdkConfig> {
        self.get(config).await.map(|(_, sdk)| sdk)
    }

    async fn get(&self, config: &Config) -> Result<&(Client, SdkConfig)> {
        self.made.get_or_try_init(|| Box::pin(make(config, &self.walks))).await
    }
}

/// What an operation is given that uploads, or makes the server copy: time.
pub(crate) fn patient() -> Builder {
    Builder::new().timeout_config(timeouts(LONG_ANSWER))
}

/// The same client for trying what the server does: it takes an answer for an answer, and repeats only what got none, or was
/// asked to be patient.
pub(crate) fn trying(client: &Client) -> Client {
    Client::from_conf(client.config().to_builder().retry_classifier(Answered).build())
}

async fn make(config: &Config, walks: &Arc<AtomicBool>) -> Result<(Client, SdkConfig)> {
    let http = trust::http_client(config)?;
    let named = if let Some(region) = &config.region {
        Some(Region::new(region.clone()))
    } else {
        let environment = EnvironmentVariableRegionProvider::new();
        RegionProviderChain::first_try(environment).or_else(ProfileFileRegionProvider::new()).region().await
    };
    // Asking the instance metadata for a region, as the SDK would, says where this machine is, not where the bucket is.
    let region = named.clone().unwrap_or_else(|| Region::new(ANY_REGION));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .retry_config(retries())
        .timeout_config(timeouts(ANSWER));
    if let Some(inline) = &config.credentials {
        let (key, secret) = (inline.access_key.clone(), inline.secret_key.clone());
        loader =
            loader.credentials_provider(Credentials::new(key, secret, inline.session_token.clone(), None, "manifest"));
    }
    let mut sdk = loader.load().await;
    if named.is_none()
        && config.endpoint.is_none()
        && let Some(found) = discover(config, &client(config, &sdk, walks)).await?
    {
        sdk = sdk.into_builder().region(found).build();
    }
    Ok((client(config, &sdk, walks), sdk))
}

fn client(config: &Config, sdk: &SdkConfig, walks: &Arc<AtomicBool>) -> Client {
    let stalled = StalledStreamProtectionConfig::enabled().grace_period(STALLED).build();
    let mut builder = Builder::from(sdk)
        .stalled_stream_protection(stalled)
        // wl gives the checksums itself; those of the SDK's own choice are not known to every server.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_classifier(TooMany)
        .interceptor(Server { walks: walks.clone() });
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if config.endpoint.is_some() || sdk.endpoint_url().is_some() {
        // A bucket's own host name needs DNS that only AWS surely has.
        builder = builder.force_path_style(true);
    }
    Client::from_conf(builder.build())
}

/// Full jitter and a cap: the SDK's standard mode.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(6)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(10))
}

fn timeouts(answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(Duration::from_secs(10)).read_timeout(answer).build()
}

/// Where the bucket is. AWS names its region in every answer about it, refusals too (API reference, HeadBucket).
async fn discover(config: &Config, client: &Client) -> Result<Option<Region>> {
    match client.head_bucket().bucket(&config.bucket).send().await {
        Ok(bucket) => Ok(bucket.bucket_region().map(|region| Region::new(region.to_owned()))),
        Err(error) => {
            let there = error.raw_response().and_then(|raw| raw.headers().get("x-amz-bucket-region"));
            match there.map(|region| Region::new(region.to_owned())) {
                Some(region) => Ok(Some(region)),
                None if error.raw_response().is_none() => Err(crate::error::error(config, &error)),
                None => {
                    // Answers to HEAD have no words for what is wrong: those to GET do.
                    let list = client.list_objects_v2().bucket(&config.bucket).max_keys(1).send().await;
                    list.map(|_| None).map_err(|error| crate::error::error(config, &error))
                }
            }
        }
    }
}

/// Some servers ask for patience with a status that the SDK does not know as such.
#[derive(Debug)]
struct TooMany;

impl ClassifyRetry for TooMany {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "too many requests"
    }
}

/// Takes an answer for final.
#[derive(Debug)]
struct Answered;

impl ClassifyRetry for Answered {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|response| response.status().as_u16()) {
            None | Some(429 | 503) => RetryAction::NoActionIndicated,
            Some(_) => RetryAction::RetryForbidden,
        }
    }

    fn name(&self) -> &'static str {
        "answered"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::default())
    }
}

/// Reads the server's name off its answers.
#[derive(Debug)]
struct Server {
    walks: Arc<AtomicBool>,
}

impl Intercept for Server {
    fn name(&self) -> &'static str {
        "the server's name"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // XML that stops early is read by the SDK as if the rest were empty.
        match context.response().body().bytes() {
            Some(body) if is_cut_listing(body) => Err("the server's listing ends in the middle".into()),
            _ => Ok(()),
        }
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().headers().get("server").is_some_and(|name| name.starts_with("SeaweedFS")) {
            self.walks.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a body begins as a listing and does not end as one.
fn is_cut_listing(body: &[u8]) -> bool {
    /// More than a declaration in XML has.
    const HEAD: usize = 256;
    const NAME: &[u8] = b"<ListBucketResult";
    let head = &body[..body.len().min(HEAD)];
    head.windows(NAME.len()).any(|bytes| bytes == NAME) && !body.trim_ascii_end().ends_with(b"</ListBucketResult>")
}
