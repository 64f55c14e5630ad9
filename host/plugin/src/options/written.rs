//! Options as somebody wrote them: which option of the table each means, which of them hold, and which files their values stand in.

use crate::description::{Description, OptionKind, OptionSpec};
use crate::spec::{OptionInput, OptionSource};
use std::borrow::Cow;
use wasmount_net::SecretsDir;

/// An option as somebody wrote it, and the option of the table it means.
#[derive(Clone, Copy)]
pub struct WrittenOption<'a> {
    /// As it was written.
    pub input: &'a OptionInput,
    /// What it means.
    pub spec: &'a OptionSpec,
    /// Written as `NAME-file`.
    is_file: bool,
}

impl<'a> WrittenOption<'a> {
    /// `None`: the table has no such option.
    pub(crate) fn of(description: &'a Description, input: &'a OptionInput) -> Option<Self> {
        if let Some(spec) = description.option(&input.name) {
            return Some(Self { input, spec, is_file: false });
        }
        if input.source != OptionSource::Args {
            return None;
        }
        let spec = description.option(input.name.strip_suffix("-file")?)?;
        Some(Self { input, spec, is_file: true })
    }

    /// The operator wrote it.
    pub(crate) fn by_operator(&self) -> bool {
        self.input.source == OptionSource::Args
    }

    /// The file that only the operator can name: `KEY=@/PATH`, `KEY-file=PATH`, and the value of an option of kind `file-content`.
    pub(crate) fn operators_file(&self) -> Option<&'a str> {
        let value = self.input.value.as_str();
        match value.strip_prefix('@') {
            _ if self.is_file => Some(value),
            Some(path) if self.by_operator() && path.starts_with('/') => Some(path),
            _ if self.by_operator() && self.spec.kind == OptionKind::FileContent => Some(value),
            _ => None,
        }
    }

    /// The value, without the `@` that the operator may write before a path below the secrets directory as well.
    pub(crate) fn text(&self) -> &'a str {
        let value = self.input.value.as_str();
        let path =
            value.strip_prefix('@').filter(|path| self.by_operator() && SecretsDir::is_reference(path));
        path.unwrap_or(value)
    }

    /// Its value as others than its author may see it. An endpoint of the operator's is shown without what follows its port: that of a
    /// container's credentials is as good as a key.
    pub fn shown(&self) -> Cow<'a, str> {
        let value = self.input.value.as_str();
        match &self.spec.kind {
            OptionKind::Endpoint(rule) if rule.many && self.by_operator() => {
                let each: Vec<_> = value.split([',', ';']).map(without_path).collect();
                Cow::Owned(each.join(","))
            }
            OptionKind::Endpoint(_) if self.by_operator() => Cow::Owned(without_path(value)),
            _ => Cow::Borrowed(value),
        }
    }

    /// The path of the file that its value is the content of, as it was written: below `/etc/fluid/secrets/`, or any file that the operator
    /// names.
    pub fn file(&self) -> Option<&'a str> {
        let reference = Some(self.text()).filter(|text| SecretsDir::is_reference(text));
        self.operators_file().or(reference)
    }
}

/// An endpoint without what follows its port.
fn without_path(endpoint: &str) -> String {
    let (scheme, rest) = match endpoint.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), endpoint),
    };
    scheme + rest.split(['/', '?', '#']).next().unwrap_or_default()
}

impl Description {
    /// The table has this option, by whatever name.
    pub fn knows(&self, input: &OptionInput) -> bool {
        WrittenOption::of(self, input).is_some()
    }

    /// Of these options, weak sources first, those that hold for a mount: of each option of the table, in its order, what its strongest source
    /// says. If a source says it twice under different names, both are here, and the mount will be refused.
    pub fn in_force<'a>(&'a self, inputs: &'a [OptionInput]) -> Vec<WrittenOption<'a>> {
        let written: Vec<_> = inputs.iter().filter_map(|input| WrittenOption::of(self, input)).collect();
        let mut in_force: Vec<WrittenOption<'a>> = Vec::new();
        for spec in &self.options {
            let of_spec = || written.iter().filter(|written| written.spec.name == spec.name);
            let strongest = of_spec().map(|written| written.input.source).max();
            for holds in of_spec().filter(|written| Some(written.input.source) == strongest) {
                // The same name twice in one place: the last one counts.
                in_force
                    .retain(|before| before.input.name != holds.input.name || before.spec.name != spec.name);
                in_force.push(*holds);
            }
        }
        in_force
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{EndpointRule, NetworkNeeds};
    use OptionSource::{Args, Environment, Mount, Runtime};

    fn description() -> Description {
        let option = |name: &str, alias: &str, kind| OptionSpec {
            name: name.into(),
            aliases: vec![alias.into()],
            kind,
            required: false,
            default: None,
            doc: String::new(),
        };
        Description {
            name: "s3".into(),
            version: "1".into(),
            summary: "x".into(),
            schemes: vec!["s3".into()],
            csi_drivers: vec![],
            options: vec![
                option("region", "zone", OptionKind::Text),
                option("token", "t", OptionKind::Secret { reveal: true, sent_to: vec![] }),
                option("policy", "p", OptionKind::FileContent),
            ],
            network: NetworkNeeds::default(),
        }
    }

    fn input(name: &str, value: &str, source: OptionSource) -> OptionInput {
        OptionInput { name: name.into(), value: value.into(), source }
    }

    #[test]
    fn the_strongest_source_holds_whatever_names_it_uses() {
        let description = description();
        let shown = |inputs: &[OptionInput]| {
            let one = |w: &WrittenOption<'_>| format!("{}:{}={}", w.spec.name, w.input.name, w.input.value);
            description.in_force(inputs).iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let weak = [input("region", "env", Environment), input("zone", "runtime", Runtime)];
        assert_eq!(shown(&weak), "region:zone=runtime");
        let strong = [weak.as_slice(), &[input("t", "x", Mount), input("zone", "mount", Mount)]].concat();
        assert_eq!(shown(&strong), "region:zone=mount token:t=x", "in the order of the table");
        let all = [strong.as_slice(), &[input("region", "1", Args), input("region", "2", Args)]].concat();
        assert_eq!(shown(&all), "region:region=2 token:t=x");
        let twice = [input("region", "a", Mount), input("zone", "b", Mount)];
        assert_eq!(shown(&twice), "region:region=a region:zone=b");
        assert_eq!(shown(&[input("regoin", "a", Mount), input("token-file", "/f", Mount)]), "", "unknown");
    }

    #[test]
    fn of_an_operators_endpoint_only_the_server_is_shown() {
        let mut description = description();
        let mut shown = |many, value: &str, source| {
            let rule =
                EndpointRule { protocols: vec!["http".into()], default_port: 80, many, read_methods: vec![] };
            description.options[0].kind = OptionKind::Endpoint(rule);
            let input = input("region", value, source);
            WrittenOption::of(&description, &input).unwrap().shown().into_owned()
        };
        for value in ["http://169.254.170.2/v2/credentials/canary", "http://169.254.170.2?canary,b/c"] {
            assert_eq!(shown(false, value, Args), "http://169.254.170.2");
            assert_eq!(shown(false, value, Mount), value, "its author wrote it where all can see it");
        }
        assert_eq!(shown(false, "minio:9000/canary", Args), "minio:9000");
        assert_eq!(shown(true, "tcp://a:1/x;[fd00::1]:2, c#y", Args), "tcp://a:1,[fd00::1]:2, c");
    }

    #[test]
    fn files_of_values() {
        let description = description();
        let file = |name: &str, value: &str, source| {
            let input = input(name, value, source);
            WrittenOption::of(&description, &input).and_then(|written| written.file().map(str::to_owned))
        };
        assert_eq!(file("token-file", "/run/token", Args).as_deref(), Some("/run/token"));
        assert_eq!(file("token", "@/run/token", Args).as_deref(), Some("/run/token"));
        assert_eq!(file("policy", "/run/policy", Args).as_deref(), Some("/run/policy"));
        let reference = "/etc/fluid/secrets/s/k";
        for (name, source) in [("token", Mount), ("region", Runtime), ("token-file", Args), ("token", Args)] {
            assert_eq!(file(name, reference, source).as_deref(), Some(reference), "{name}");
        }
        assert_eq!(file("token", &format!("@{reference}"), Args).as_deref(), Some(reference));
        assert_eq!(file("token", &format!("@{reference}"), Mount), None, "a literal");
        assert_eq!(file("token", "@/run/token", Mount), None);
        assert_eq!(file("token-file", "/run/token", Mount), None);
        assert_eq!(file("region", "@home", Args), None, "no absolute path");
    }
}
