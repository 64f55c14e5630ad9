//! Where the credentials of a mount come from: the options about it, and what follows from them before anything is asked.

use super::web_identity::Role;
use crate::address::aws_host;
use wasmount_sdk::{Endpoint, EndpointRule, Error, Mount, Options, Result, Settings};

/// How long web identity's sessions may last (AWS STS; MinIO's limits are the same or wider), in seconds.
const SESSION_S: std::ops::RangeInclusive<u64> = 15 * 60..=12 * 3600;

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests are not signed.
    Anonymous,
    /// Options name the keys.
    Static,
    /// An STS, for a token.
    WebIdentity,
    /// The endpoint of a container.
    Container,
    /// The metadata service of an instance.
    Instance,
}

impl Kind {
    /// What the options ask for. Nothing is asked over the network that no option names.
    ///
    /// # Errors
    /// `invalid`: options that contradict each other.
    pub fn choose(settings: &Settings) -> Result<Self> {
        let word = settings.text("credentials")?;
        if settings.boolean("anonymous")? && !matches!(word, "auto" | "anonymous") {
            return Err(Error::invalid(format!(
                "options anonymous=true and credentials={word} contradict each other: remove one"
            )));
        }
        let wrote = |names: &[&str]| names.iter().any(|name| settings.is_explicit(name));
        Ok(match word {
            "anonymous" => Self::Anonymous,
            "web-identity" => Self::WebIdentity,
            "container" => Self::Container,
            "instance" => Self::Instance,
            "static" => Self::Static,
            _ if settings.boolean("anonymous")? => Self::Anonymous,
            _ if wrote(&["access-key", "secret-key"]) => Self::Static,
            _ if wrote(&["web-identity-token"]) => Self::WebIdentity,
            _ if wrote(&["container-credentials-uri"]) => Self::Container,
            // Which says what is missing.
            _ => Self::Static,
        })
    }

    /// Who has issued them, for sentences; `None` for what options name.
    pub fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Anonymous | Self::Static => None,
            Self::WebIdentity => Some("web identity (STS)"),
            Self::Container => Some("the container's credentials endpoint"),
            Self::Instance => Some("the instance's metadata service"),
        }
    }
}

/// Adds the options to the table.
pub fn add_options(options: Options) -> Options {
    let rule = |protocols: [&str; 2], default_port, methods: &[&str]| EndpointRule {
        protocols: protocols.map(Into::into).into(),
        default_port,
        many: false,
        read_methods: methods.iter().map(|method| (*method).into()).collect(),
    };
    options
        .choice(
            "credentials",
            &["auto", "static", "web-identity", "container", "instance", "anonymous"],
            "Where credentials come from. `static`: options `access-key` and `secret-key`. `web-identity`: a token that the cluster has signed, \
             exchanged at an STS (EKS, MinIO). `container`: the credentials endpoint of an ECS task or EKS pod. `instance`: the metadata \
             service of the EC2 instance, which the operator has to allow by `--allow-net default --allow-net 169.254.169.254` (without \
             `default`, the bucket could not be reached any more). `auto` is the first of static, web-identity and container whose options \
             are set, and never asks the network for anything that no option names. Temporary credentials come in an answer, so the plugin \
             holds them in clear, in its own memory; they are renewed before they expire.",
        )
        .default_value("auto")
        .text(
            "role-arn",
            "Web identity: the role to assume, such as `arn:aws:iam::123456789012:role/reader`. AWS needs it; MinIO does without where its \
             identity provider has a policy claim.",
        )
        .secret(
            "web-identity-token",
            "Web identity: the token, usually in the file of a projected service account token: the operator says \
             `--option s3:web-identity-token-file=/var/run/secrets/…/token`. The file is read again for each request to the STS. The token is \
             part of that request, so the plugin has to see it.",
        )
        .reveal()
        .sent_to(&["sts-endpoint"])
        .endpoint_with(
            "sts-endpoint",
            rule(["https", "http"], 443, &["POST"]),
            "Web identity: where the STS is. Without it, that of AWS in `region`; with `endpoint` it has to be set (MinIO's own STS is at the \
             same address). Only the operator says where a token of the operator's is sent.",
        )
        .text("role-session-name", "Web identity: name of the session, as the service logs it.")
        .default_value("wasmount")
        .duration("session-duration", "Web identity: how long credentials should hold, 15m to 12h; the role may allow less.")
        .default_value("1h")
        .endpoint_with(
            "container-credentials-uri",
            rule(["http", "https"], 80, &["GET"]),
            "Container: where credentials are, with the path: the value of `AWS_CONTAINER_CREDENTIALS_FULL_URI`, or `http://169.254.170.2` \
             followed by that of `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`. Plain HTTP only on this machine.",
        )
        .secret(
            "container-authorization-token",
            "Container: what the endpoint wants to see as `authorization`; of EKS Pod Identity the operator says \
             `--option s3:container-authorization-token-file=` and the value of `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`. The plugin does \
             not see it.",
        )
        .sent_to(&["container-credentials-uri"])
        .endpoint_with(
            "instance-metadata",
            rule(["http", "https"], 80, &["GET", "PUT"]),
            "Instance: where the metadata service is, if not at `http://169.254.169.254`.",
        )
}

/// What is to be asked, and where.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nothing.
    Anonymous,
    /// The options themselves.
    Static,
    /// An STS.
    WebIdentity(Role),
    /// This address.
    Container(Endpoint),
    /// The service at this origin, or the usual one.
    Instance(Option<String>),
}

impl Plan {
    /// What the options of a mount in this region mean, with sentences for the administrator.
    ///
    /// # Errors
    /// `invalid`, naming the option and what to change.
    pub fn new(mount: &Mount, kind: Kind, region: &str) -> Result<(Self, Vec<String>)> {
        let settings = &mount.settings;
        let mut warnings = Vec::new();
        let plan = match kind {
            Kind::Anonymous => Self::Anonymous,
            Kind::Static => Self::Static,
            Kind::WebIdentity => Self::WebIdentity(role(settings, region, &mut warnings)?),
            Kind::Container => Self::Container(settings.endpoint("container-credentials-uri")?.clone()),
            Kind::Instance => {
                Self::Instance(settings.optional_endpoint("instance-metadata")?.map(Endpoint::origin))
            }
        };
        Ok((plan, warnings))
    }
}

fn role(settings: &Settings, region: &str, warnings: &mut Vec<String>) -> Result<Role> {
    let arn = settings.optional_text("role-arn")?.map(str::trim).filter(|arn| !arn.is_empty());
    let origin = match (settings.optional_endpoint("sts-endpoint")?, settings.optional_endpoint("endpoint")?)
    {
        (Some(sts), _) => {
            if sts.protocol == "http" && !is_loopback(&sts.host) {
                warnings.push(format!(
                    "{} is not encrypted: who listens in between gets token and credentials; use https",
                    sts.origin()
                ));
            }
            if !sts.path.is_empty() {
                warnings.push(format!(
                    "what follows {} in option sts-endpoint is ignored ({:?})",
                    sts.origin(),
                    sts.path
                ));
            }
            sts.origin()
        }
        (None, Some(store)) => {
            return Err(Error::invalid(format!(
                "option sts-endpoint is missing: with endpoint set, say where the STS is; MinIO's own is at {}",
                store.origin()
            )));
        }
        (None, None) if arn.is_none() => {
            return Err(Error::invalid(
                "option role-arn is missing: AWS wants to know which role the token is for",
            ));
        }
        (None, None) => format!("https://{}", aws_host("sts", region)),
    };
    let session = settings.text("role-session-name")?.to_owned();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(allowed) {
        return Err(Error::invalid(format!(
            "option role-session-name is {session:?}: it may have 2 to 64 letters, digits and _+=,.@-"
        )));
    }
    let seconds = settings.duration("session-duration")?.as_secs();
    if !SESSION_S.contains(&seconds) {
        return Err(Error::invalid(format!(
            "option session-duration is {seconds} s: it must be from 15m to 12h"
        )));
    }
    Ok(Role { origin, arn: arn.map(Into::into), session, seconds })
}

fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
