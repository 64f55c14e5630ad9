//! What the policy will say about an origin, as far as that is known before anything is resolved: for `wasmount run --dry-run`.

use super::allow::{AllowNet, address_literal, canonical_host, canonical_ip};
use super::reach::ReachPolicy;
use std::net::SocketAddr;

/// What a connection to a host and port can expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// It is allowed; by what, for people.
    Allowed(String),
    /// A name: the address that it resolves to decides, at each connect; within what, for people.
    ByAddress(String),
    /// It is refused; why, and what would allow it.
    Refused(String),
}

impl ReachPolicy {
    /// What [`check`](Self::check) will say about connections to `host`, a name or an address in any notation. Resolves nothing.
    pub fn foresee(&self, host: &str, port: u16) -> Foreseen {
        let canonical = canonical_host(host);
        if let Some(ip) = address_literal(host) {
            return match self.check(host, SocketAddr::new(ip, port)) {
                Ok(()) => {
                    let ip = canonical_ip(ip);
                    let rule = self.rules().iter().find(|rule| rule.covers(&canonical, ip, port));
                    Foreseen::Allowed(rule.map_or_else(default_set, named))
                }
                Err(error) => Foreseen::Refused(error.message),
            };
        }
        if let Some(rule) = self.rules().iter().find(|rule| rule.names(&canonical, port)) {
            return Foreseen::Allowed(named(rule));
        }
        let may: Vec<String> = self.rules().iter().filter(|rule| rule.may_cover(port)).map(show).collect();
        match (self.rules().is_empty(), may.is_empty()) {
            (true, _) => Foreseen::ByAddress(default_set()),
            (false, false) => Foreseen::ByAddress(may.join(", ")),
            (false, true) => Foreseen::Refused(format!(
                "{canonical}:{port} is not covered by {}: only the operator can allow it, with --allow-net {canonical}:{port}",
                self.rules().iter().map(named).collect::<Vec<_>>().join(" ")
            )),
        }
    }

    /// Within what a storage system may reveal addresses, for people.
    pub fn bounds_of_revealed(&self) -> String {
        let rules = self.rules().iter().chain(self.revealed_rules()).map(show);
        let default = self.rules().is_empty().then(default_set);
        default.into_iter().chain(rules).collect::<Vec<_>>().join(", ")
    }
}

fn default_set() -> String {
    "every address but loopback, link-local, metadata services and this node".to_owned()
}

fn named(rule: &AllowNet) -> String {
    format!("--allow-net {rule}")
}

fn show(rule: &AllowNet) -> String {
    if rule.is_default() { default_set() } else { named(rule) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> ReachPolicy {
        ReachPolicy::new(rules.iter().map(|rule| AllowNet::parse(rule).unwrap()).collect())
    }

    #[test]
    fn addresses_are_decided_and_names_are_not() {
        let default = policy(&[]);
        assert!(
            matches!(default.foresee("93.184.216.34", 443), Foreseen::Allowed(by) if by.starts_with("every address"))
        );
        assert!(matches!(default.foresee("s3.example", 443), Foreseen::ByAddress(_)));
        for own in
            ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "::ffff:127.0.0.1", "169.254.169.254", "[::1]"]
        {
            let Foreseen::Refused(why) = default.foresee(own, 80) else { panic!("{own}") };
            assert!(why.contains("--allow-net"), "{why}");
        }
    }

    #[test]
    fn rules_say_which_of_them_it_was() {
        let some = policy(&["10.0.0.0/8:9000", "minio.example", "default"]);
        assert_eq!(some.foresee("minio.example.", 80), Foreseen::Allowed("--allow-net minio.example".into()));
        assert_eq!(some.foresee("10.1.2.3", 9000), Foreseen::Allowed("--allow-net 10.0.0.0/8:9000".into()));
        let Foreseen::ByAddress(within) = some.foresee("other.example", 9000) else { panic!() };
        assert!(within.starts_with("--allow-net 10.0.0.0/8:9000, every address"), "{within}");

        let strict = policy(&["10.0.0.0/8:9000", "minio.example"]);
        assert!(matches!(strict.foresee("other.example", 9000), Foreseen::ByAddress(_)));
        assert!(
            matches!(strict.foresee("other.example", 80), Foreseen::Refused(why) if why.contains("--allow-net other.example:80"))
        );
        assert!(matches!(strict.foresee("10.1.2.3", 80), Foreseen::Refused(_)));
    }

    #[test]
    fn what_is_foreseen_is_what_happens() {
        let policies = [
            policy(&[]),
            policy(&["127.0.0.1:80"]),
            policy(&["default", "127.0.0.0/8"]),
            policy(&["10.0.0.0/8"]),
        ];
        for policy in policies {
            for text in ["127.0.0.1", "127.0.0.2", "10.0.0.1", "93.184.216.34", "::1", "fe80::1"] {
                let checked = policy.check(text, SocketAddr::new(text.parse().unwrap(), 80));
                let allowed = matches!(policy.foresee(text, 80), Foreseen::Allowed(_));
                assert_eq!(allowed, checked.is_ok(), "{text} {policy:?}");
            }
        }
    }

    #[test]
    fn revealed_addresses_have_rules_of_their_own() {
        let policy = policy(&["10.0.0.0/8"]).also_revealed(AllowNet::parse("127.0.0.1").unwrap());
        assert_eq!(policy.bounds_of_revealed(), "--allow-net 10.0.0.0/8, --allow-net 127.0.0.1/32");
    }
}
