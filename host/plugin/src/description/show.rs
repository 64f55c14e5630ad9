//! The reference page of a plugin.

use super::{Description, OptionKind, OptionSpec};
use std::fmt::{self, Display, Formatter, Write as _};

impl Display for OptionKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Integer { min, max } => write!(f, "integer from {min} to {max}"),
            Self::Boolean => f.write_str("true or false"),
            Self::Size => f.write_str("size: 64k, 16MiB, 1G"),
            Self::Duration => f.write_str("duration: 500ms, 30s, 5m"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Endpoint(rule) => {
                let (many, methods) = (if rule.many { "addresses" } else { "address" }, &rule.read_methods);
                write!(f, "{many}, {}, default port {}", rule.protocols.join(" or "), rule.default_port)?;
                if methods.is_empty() { Ok(()) } else { write!(f, "; reads by {}", methods.join(", ")) }
            }
            Self::Secret { reveal: false, .. } => f.write_str("secret, never shown to the plugin"),
            Self::Secret { reveal: true, .. } => f.write_str("secret, the plugin sees it in clear"),
            Self::FileContent => f.write_str("path of a file below the secrets directory"),
        }
    }
}

impl Display for OptionSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", self.name)?;
        if self.required {
            f.write_str(" (required)")?;
        }
        write!(f, "\n      {}", self.kind)?;
        if let Some(default) = &self.default {
            write!(f, "; default {default}")?;
        }
        if !self.aliases.is_empty() {
            write!(f, "\n      also: {}", self.aliases.join(", "))?;
        }
        for line in self.doc.lines() {
            write!(f, "\n      {}", line.trim())?;
        }
        f.write_char('\n')
    }
}

impl Display for Description {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", self.name, self.version, self.summary)?;
        let schemes: Vec<_> = self.schemes.iter().map(|s| format!("{s}://")).collect();
        writeln!(f, "Mount points: {}", if schemes.is_empty() { "none".into() } else { schemes.join(" ") })?;
        if !self.csi_drivers.is_empty() {
            writeln!(f, "Volumes of CSI drivers: {}", self.csi_drivers.join(" "))?;
        }
        writeln!(f, "\nOptions:")?;
        for option in &self.options {
            write!(f, "{option}")?;
        }
        writeln!(f, "\nReach, within what --allow-net allows:")?;
        for option in self.options.iter().filter(|o| matches!(o.kind, OptionKind::Endpoint(_))) {
            writeln!(f, "  what the option {} names", option.name)?;
        }
        for template in &self.network.templates {
            let methods = template.read_methods.join(", ");
            let reads = if methods.is_empty() { String::new() } else { format!(" (reads by {methods})") };
            writeln!(f, "  {}{reads}", template.origin)?;
        }
        if let Some(why) = &self.network.revealed_addresses {
            writeln!(f, "  addresses the storage system reveals: {why}")?;
        }
        let (mut sees, mut lines) = (Vec::new(), String::new());
        for option in &self.options {
            let OptionKind::Secret { reveal, sent_to } = &option.kind else { continue };
            if *reveal {
                sees.push(option.name.as_str());
            }
            let named = |origin: &String| match self.option(origin) {
                Some(option) => format!("what {} names", option.name),
                None => origin.clone(),
            };
            let sent: Vec<_> = sent_to.iter().map(named).collect();
            let what = match (reveal, sent.as_slice()) {
                (true, []) => "the plugin sees it, and can send it to whatever it reaches".to_owned(),
                (true, sent) => format!(
                    "the plugin sees it, and can send it to whatever it reaches; the host sends it to {}",
                    sent.join(", ")
                ),
                (false, []) => "signs, and is sent nowhere".to_owned(),
                (false, sent) => format!("signs, and the host sends it to {} in headers", sent.join(", ")),
            };
            writeln!(lines, "  {}: {what}", option.name)?;
        }
        if !lines.is_empty() {
            write!(f, "\nSecrets:\n{lines}")?;
        }
        let sees = if sees.is_empty() { "none".to_owned() } else { sees.join(", ") };
        write!(f, "\nSecrets it sees in clear: {sees}")
    }
}
