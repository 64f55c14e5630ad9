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
    /// A name that a proxy resolves: it may be asked for it, by what, for people.
    ByProxy(String),
    /// It is refused; why, and what would allow it.
    Refused(String),
}

impl ReachPolicy {
    /// What will be said about connections to `host`, a name or an address in any notation; `by_proxy`: a proxy makes them. Resolves nothing.
    pub fn foresee(&self, host: &str, port: u16, by_proxy: bool) -> Foreseen {
        if by_proxy && address_literal(host).is_none() {
            return self.foresee_by_proxy(host, port);
        }
        let canonical = canonical_host(host);
        if self.is_typed(host, port) {
            return Foreseen::Allowed(TYPED.to_owned());
        }
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

    fn foresee_by_proxy(&self, host: &str, port: u16) -> Foreseen {
        let canonical = canonical_host(host);
        match self.check_by_proxy(host, port) {
            Err(error) => Foreseen::Refused(error.message),
            Ok(()) if self.is_typed(host, port) => Foreseen::ByProxy(TYPED.to_owned()),
            Ok(()) => {
                let rule = self.rules().iter().find(|rule| rule.names(&canonical, port));
                Foreseen::ByProxy(rule.map_or_else(default_set, named))
            }
        }
    }

    /// Within what a storage system may reveal addresses, for people.
    pub fn bounds_of_revealed(&self) -> String {
        let rules = self.rules().iter().map(show);
        let default = self.rules().is_empty().then(default_set);
        let hosts = self.revealing_hosts().iter().map(|host| format!("{host}, {TYPED}"));
        default.into_iter().chain(rules).chain(hosts).collect::<Vec<_>>().join(", ")
    }
}

/// What allows an endpoint that the operator typed.
const TYPED: &str = "an endpoint on the command line";

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
            matches!(default.foresee("93.184.216.34", 443, false), Foreseen::Allowed(by) if by.starts_with("every address"))
        );
        assert!(matches!(default.foresee("s3.example", 443, false), Foreseen::ByAddress(_)));
        for own in
            ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "::ffff:127.0.0.1", "169.254.169.254", "[::1]"]
        {
            let Foreseen::Refused(why) = default.foresee(own, 80, false) else { panic!("{own}") };
            assert!(why.contains("--allow-net"), "{why}");
        }
    }

    #[test]
    fn rules_say_which_of_them_it_was() {
        let some = policy(&["10.0.0.0/8:9000", "minio.example", "default"]);
        assert_eq!(
            some.foresee("minio.example.", 80, false),
            Foreseen::Allowed("--allow-net minio.example".into())
        );
        assert_eq!(
            some.foresee("10.1.2.3", 9000, false),
            Foreseen::Allowed("--allow-net 10.0.0.0/8:9000".into())
        );
        let Foreseen::ByAddress(within) = some.foresee("other.example", 9000, false) else { panic!() };
        assert!(within.starts_with("--allow-net 10.0.0.0/8:9000, every address"), "{within}");

        let strict = policy(&["10.0.0.0/8:9000", "minio.example"]);
        assert!(matches!(strict.foresee("other.example", 9000, false), Foreseen::ByAddress(_)));
        assert!(
            matches!(strict.foresee("other.example", 80, false), Foreseen::Refused(why) if why.contains("--allow-net other.example:80"))
        );
        assert!(matches!(strict.foresee("10.1.2.3", 80, false), Foreseen::Refused(_)));
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
                for by_proxy in [false, true] {
                    let allowed = matches!(policy.foresee(text, 80, by_proxy), Foreseen::Allowed(_));
                    assert_eq!(allowed, checked.is_ok(), "{text} {policy:?}");
                }
            }
        }
    }

    #[test]
    fn what_the_operator_typed_is_said_to_be_that() {
        let policy =
            policy(&["10.0.0.0/8"]).with_revealing_host("127.0.0.1").with_endpoint("127.0.0.1", 3300);
        assert_eq!(
            policy.bounds_of_revealed(),
            "--allow-net 10.0.0.0/8, 127.0.0.1, an endpoint on the command line"
        );
        assert_eq!(policy.foresee("127.0.0.1", 3300, false), Foreseen::Allowed(TYPED.into()));
        for (host, port) in [("127.0.0.1", 6800), ("127.1", 3300), ("0x7f.1", 3300)] {
            assert!(matches!(policy.foresee(host, port, false), Foreseen::Refused(_)), "{host}:{port}");
        }
        // A name may lead anywhere in 10.0.0.0/8, and there alone.
        assert!(matches!(policy.foresee("localhost", 3300, false), Foreseen::ByAddress(_)));
    }

    #[test]
    fn of_names_that_a_proxy_resolves_only_the_name_is_known() {
        let by_proxy = |rules: &[&str], host: &str| policy(rules).foresee(host, 443, true);
        let none: &[&str] = &[];
        for rules in [none, &["default"], &["default", "10.0.0.0/8"]] {
            let Foreseen::ByProxy(by) = by_proxy(rules, "s3.example") else { panic!("{rules:?}") };
            assert!(by.starts_with("every address but"), "{by}");
        }
        let named = by_proxy(&["10.0.0.0/8", "S3.example:443"], "s3.example.");
        assert_eq!(named, Foreseen::ByProxy("--allow-net s3.example:443".into()));
        for rules in [&["0.0.0.0/0"][..], &["s3.example:80"], &["other.example"]] {
            let Foreseen::Refused(why) = by_proxy(rules, "s3.example") else { panic!("{rules:?}") };
            assert!(why.contains("the proxy") && why.ends_with("--allow-net s3.example:443"), "{why}");
        }
        let typed = policy(&["10.0.0.0/8"]).with_endpoint("minio.example", 443);
        assert_eq!(typed.foresee("minio.example", 443, true), Foreseen::ByProxy(TYPED.into()));
    }
}
