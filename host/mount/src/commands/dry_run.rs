//! `--dry-run`: what every mount would be, and what it could reach, without mounting, connecting or resolving anything.
//!
//! Plugins are loaded (fetched first, if the operator named them by reference and they are not here) and described, files that options
//! name are read, everything is checked that is checked before a plugin is told to open its mount.

use crate::cli::{CommonArgs, DryRunFormat};
use crate::config::raw::RawMount;
use crate::config::resolved::Resolved;
use crate::logging;
use crate::plugins::load::Loaded;
use crate::wire::Plan;
use crate::wire::mounts::Workshop;
use crate::wire::process::Process;
use anyhow::bail;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use wasmount_net::Foreseen;
use wasmount_plugin::{EffectiveGrant, MountPlan, OptionInput, OptionSource, OriginFrom};
use wasmount_types::Error;

/// Prints what every mount of the plan would be.
///
/// # Errors
/// What would keep the whole mount from working; and when a mount would not work.
pub(crate) async fn run(plan: Plan, mut args: CommonArgs, format: DryRunFormat) -> anyhow::Result<()> {
    // Its directory would be made, and looked through.
    (args.cache_dir, args.cache_size, args.cache_namespace) = (None, None, None);
    let process = Process::start(args, &plan.target, plan.config.mounts.len(), &plan.implied_rules)?;
    let workshop = Workshop::open(&process, &plan).await?;
    let generation = workshop.generation(&process, plan.config, &Default::default());
    let each = || generation.mounts.iter().zip(&generation.config.mounts);
    // All of them first: what is a secret of one mount must not be shown of another.
    let secrets = |resolved| planned(&process, resolved).and_then(Result::ok).map(|plan| plan.secrets);
    let known: Vec<_> = each().filter_map(|(resolved, _)| secrets(resolved)).flatten().collect();
    let mut outlooks: Vec<_> = each().map(|(resolved, raw)| outlook(&process, resolved, raw)).collect();
    outlooks.iter_mut().for_each(Outlook::finish);
    let text = match format {
        DryRunFormat::Text => {
            let text = text(&plan.target.display().to_string(), &outlooks);
            logging::redactor().redact(&text).into_owned()
        }
        DryRunFormat::Json => {
            let mounts: Vec<_> = outlooks.iter().map(Outlook::to_json).collect();
            let mut all = json!({
                "target": plan.target,
                "allowNet": process.args.allow_net,
                "mounts": mounts,
            });
            logging::redact_json(&mut all);
            format!("{all:#}\n")
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    drop(known);
    match outlooks.iter().filter(|outlook| !outlook.errors.is_empty()).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} mounts would not work", outlooks.len()),
    }
}

/// One mount.
#[derive(Default)]
struct Outlook {
    name: String,
    place: String,
    source: String,
    plugin: Option<Plugin>,
    options: Vec<Shown>,
    grant: Option<EffectiveGrant>,
    sees: Vec<String>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

struct Plugin {
    name: String,
    version: String,
    file: String,
    digest: String,
}

/// An option, whether the plugin's or wasmount's own.
struct Shown {
    name: String,
    value: String,
    from: &'static str,
    own: bool,
}

/// What the plugin's part of it would be; `None`: no plugin serves it.
fn planned(process: &Process, resolved: &Resolved<Loaded>) -> Option<Result<MountPlan, Error>> {
    let served = resolved.serves.as_ref().ok()?;
    let (client, reach) = (process.client.clone(), process.reach.clone());
    Some(process.plugins.mount(served.plugin.clone(), served.spec.clone(), client, reach).plan())
}

fn outlook(process: &Process, resolved: &Resolved<Loaded>, raw: &RawMount) -> Outlook {
    let mut outlook = Outlook {
        name: resolved.id.to_string(),
        place: resolved.place.to_string(),
        source: resolved.mount_point.clone(),
        ..Outlook::default()
    };
    if resolved.insecure {
        outlook.warnings.push("insecure-skip-verify: whoever answers at the endpoint is believed".to_owned());
    }
    if resolved.wants_writing {
        outlook.warnings.push("it is asked to be writable, and will be read-only".to_owned());
    }
    let served = match &resolved.serves {
        Ok(served) => served,
        Err(error) => {
            outlook.errors.push(error.message.clone());
            return outlook;
        }
    };
    let about = served.plugin.description();
    outlook.plugin = Some(Plugin {
        name: about.name.clone(),
        version: about.version.clone(),
        file: served.plugin.path().display().to_string(),
        digest: served.plugin.digest().to_string(),
    });
    match planned(process, resolved) {
        Some(Ok(plan)) => outlook.take(plan),
        Some(Err(error)) => outlook.errors.push(error.message),
        None => {}
    }
    let own: BTreeMap<String, &OptionInput> =
        resolved.written.own.iter().map(|option| (option.name.replace('_', "-"), option)).collect();
    outlook.options.extend(own.into_iter().map(|(name, option)| own_option(name, option)));
    if raw.options.keys().any(|name| name.eq_ignore_ascii_case("plugin")) {
        let text = "an option `plugin` chooses no plugin: that is the operator's, with --plugin";
        outlook.warnings.push(text.to_owned());
    }
    outlook
}

/// One of wasmount's own options.
fn own_option(name: String, option: &OptionInput) -> Shown {
    // A key, or the password of a proxy.
    let is_secret = option.value.contains("-----BEGIN") || option.value.contains('@');
    let value = if is_secret { "(hidden)".to_owned() } else { option.value.clone() };
    Shown { name, value, from: option.source.place(), own: true }
}

/// Short and without control characters, for a terminal.
fn printable(text: &str) -> String {
    let short: String = text.chars().take(300).collect();
    let cut = if short.len() < text.len() { "..." } else { "" };
    format!("{}{cut}", short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

impl Outlook {
    /// Hides what was a secret when it was read, wherever else it was written: now, since it no longer looks like itself once it is spelled for a
    /// terminal or as JSON.
    fn finish(&mut self) {
        let redactor = logging::redactor();
        let hide = |text: &mut String| {
            if let Cow::Owned(clean) = redactor.redact(text) {
                *text = clean;
            }
        };
        [&mut self.name, &mut self.place, &mut self.source].into_iter().for_each(hide);
        self.warnings.iter_mut().chain(&mut self.errors).for_each(hide);
        for option in &mut self.options {
            hide(&mut option.value);
            if option.own {
                (option.name, option.value) = (printable(&option.name), printable(&option.value));
            }
        }
    }

    fn take(&mut self, plan: MountPlan) {
        for option in plan.options {
            let from = option.source.map_or("default", OptionSource::place);
            self.options.push(Shown { name: option.name, value: option.value, from, own: false });
        }
        let refused = plan.grant.origins.iter().filter_map(|origin| match &origin.reach {
            Foreseen::Refused(why) => Some((origin, why)),
            Foreseen::Allowed(_) | Foreseen::ByAddress(_) | Foreseen::ByProxy(_) => None,
        });
        // What a template stands for may not be needed; what an option names is.
        let named = refused.filter(|(origin, _)| matches!(origin.from, OriginFrom::Option(_)));
        let named: Vec<String> = named.map(|(_, why)| why.clone()).collect();
        if plan.grant.is_refused() {
            self.errors.extend(named);
            if self.errors.is_empty() {
                self.errors.push("nothing that it asks for may be reached".to_owned());
            }
        } else {
            self.warnings.extend(named);
        }
        self.warnings.extend(plan.warnings);
        (self.grant, self.sees) = (Some(plan.grant), plan.sees);
    }

    fn to_json(&self) -> Value {
        let option = |option: &Shown| json!({"name": option.name, "value": option.value, "from": option.from, "ofPlugin": !option.own});
        json!({
            "name": self.name,
            "place": self.place,
            "mountPoint": self.source,
            "plugin": self.plugin.as_ref().map(|plugin| json!({
                "name": plugin.name,
                "version": plugin.version,
                "file": plugin.file,
                "digest": plugin.digest,
            })),
            "options": self.options.iter().map(option).collect::<Vec<_>>(),
            "grant": self.grant.as_ref().map(grant_json),
            "seesSecrets": self.sees,
            "warnings": self.warnings,
            "errors": self.errors,
        })
    }
}

fn grant_json(grant: &EffectiveGrant) -> Value {
    let origin = |origin: &wasmount_plugin::EffectiveOrigin| {
        let (reach, why) = words(&origin.reach);
        json!({
            "origin": origin.origin,
            "from": from(&origin.from),
            "methods": origin.methods,
            "secrets": origin.secrets,
            "reach": reach,
            "why": why,
        })
    };
    json!({
        "origins": grant.origins.iter().map(origin).collect::<Vec<_>>(),
        "unusedTemplates": grant.unused_templates,
        "revealedAddresses": grant.revealed.as_ref().map(|revealed| json!({"why": revealed.why, "within": revealed.within})),
    })
}

fn from(from: &OriginFrom) -> String {
    match from {
        OriginFrom::Option(name) => format!("option {name}"),
        OriginFrom::Template(template) => format!("template {template}"),
    }
}

fn words(reach: &Foreseen) -> (&'static str, &str) {
    match reach {
        Foreseen::Allowed(by) => ("allowed", by),
        Foreseen::ByAddress(within) => ("if it resolves to an allowed address", within),
        Foreseen::ByProxy(by) => ("by the proxy, which resolves the name and decides", by),
        Foreseen::Refused(why) => ("refused", why),
    }
}

/// For people.
fn text(target: &str, outlooks: &[Outlook]) -> String {
    let mut out = format!("target    {target}\nmounts    {}\n", outlooks.len());
    for outlook in outlooks {
        out.push('\n');
        out.push_str(&outlook.page());
    }
    out
}

impl Outlook {
    fn page(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!("{} ({})", printable(&self.place), printable(&self.name)));
        line(format!("  source    {}", printable(&self.source)));
        match &self.plugin {
            Some(plugin) => {
                line(format!(
                    "  plugin    {} {}, {}, {}",
                    plugin.name, plugin.version, plugin.file, plugin.digest
                ));
            }
            None => line("  plugin    none".to_owned()),
        }
        for (index, option) in self.options.iter().enumerate() {
            let head = if index == 0 { "options" } else { "" };
            let own = if option.own { ", wasmount's own" } else { "" };
            line(format!("  {head:<9} {} = {}  [{}{own}]", option.name, option.value, option.from));
        }
        if let Some(grant) = &self.grant {
            let mut head = "reach";
            for origin in &grant.origins {
                let methods = origin.methods.join(", ");
                let methods = if methods.is_empty() { String::new() } else { format!("; {methods}") };
                line(format!("  {head:<9} {}  [{}{methods}]", origin.origin, from(&origin.from)));
                let (reach, why) = words(&origin.reach);
                line(format!("            {reach}: {why}"));
                if !origin.secrets.is_empty() {
                    line(format!("            secrets sent there: {}", origin.secrets.join(", ")));
                }
                head = "";
            }
            for template in &grant.unused_templates {
                line(format!("  {head:<9} not used: {template}"));
                head = "";
            }
            if let Some(revealed) = &grant.revealed {
                line(format!("  {head:<9} addresses that the storage system reveals: {}", revealed.why));
                line(format!("            within {}", revealed.within));
            }
            let sees = if self.sees.is_empty() { "none".to_owned() } else { self.sees.join(", ") };
            line(format!("  secrets   seen by the plugin in clear: {sees}"));
        }
        self.warnings.iter().for_each(|text| line(format!("  warning   {}", printable_line(text))));
        self.errors.iter().for_each(|text| line(format!("  error     {}", printable_line(text))));
        out
    }
}

/// One line, whatever a config.json may have put into a message.
fn printable_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_hidden_and_nothing_disturbs_a_terminal() {
        let show = |name: &str, value: &str| {
            let option = OptionInput { name: name.into(), value: value.into(), source: OptionSource::Args };
            let options = vec![own_option(name.to_owned(), &option)];
            let mut outlook = Outlook { options, ..Outlook::default() };
            outlook.finish();
            outlook.options.remove(0).value
        };
        assert_eq!(show("uid", "1000"), "1000");
        assert_eq!(show("https-proxy", "http://user:word@proxy:3128"), "(hidden)");
        assert_eq!(show("client-key", "-----BEGIN PRIVATE KEY-----\nx"), "(hidden)");
        assert_eq!(show("type", "a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert!(show("type", &"x".repeat(5000)).len() < 400);
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_spelled() {
        let secrets = wasmount_net::SecretsDir::with_redactor("/nonexistent", logging::redactor());
        let word = "pa\"ss\\wo\nrd-canary";
        let secret = secrets.secret("secret-key", word).unwrap();
        let option = |own| Shown { name: "region".into(), value: format!("eu {word}"), from: "default", own };
        let mut outlook = Outlook {
            name: word.into(),
            place: format!("/{word}"),
            source: format!("s3://{word}"),
            options: vec![option(true), option(false)],
            warnings: vec![format!("about {word}")],
            errors: vec![format!("because of {word}")],
            ..Outlook::default()
        };
        outlook.finish();
        for text in [outlook.page(), outlook.to_json().to_string()] {
            assert!(!text.contains("canary"), "{text}");
            assert_eq!(text.matches("[redacted]").count(), 7, "{text}");
        }
        drop(secret);
    }

    #[test]
    fn a_page_has_everything() {
        let outlook = Outlook {
            name: "data".into(),
            place: "/data".into(),
            source: "s3://b".into(),
            plugin: Some(Plugin {
                name: "s3".into(),
                version: "1".into(),
                file: "/p/s3.wasm".into(),
                digest: "sha256:00".into(),
            }),
            options: vec![Shown { name: "region".into(), value: "eu".into(), from: "default", own: false }],
            warnings: vec!["first\nsecond".into()],
            errors: vec!["no".into()],
            ..Outlook::default()
        };
        let page = outlook.page();
        for expected in [
            "/data (data)\n",
            "  source    s3://b\n",
            "  plugin    s3 1, /p/s3.wasm, sha256:00\n",
            "  options   region = eu  [default]\n",
            "  warning   first second\n",
            "  error     no\n",
        ] {
            assert!(page.contains(expected), "{page}");
        }
        let json = outlook.to_json();
        assert_eq!(json["options"][0]["from"], "default");
        assert_eq!(json["errors"][0], "no");
    }
}
