//! Which addresses in a finding become links: custom rules carry any address that somebody chose.

use std::sync::Arc;

/// Of the platform, its knowledge base, and the consoles of the clouds.
const KNOWN: [&str; 12] = [
    "cloudconformity.com",
    "trendmicro.com",
    "console.aws.amazon.com",
    "docs.aws.amazon.com",
    "console.amazonaws-us-gov.com",
    "console.amazonaws.cn",
    "portal.azure.com",
    "portal.azure.us",
    "portal.azure.cn",
    "learn.microsoft.com",
    "console.cloud.google.com",
    "cloud.google.com",
];

/// Hosts that links may lead to, with all below them.
#[derive(Clone, Debug, Default)]
pub struct LinkHosts(Arc<[String]>);

impl LinkHosts {
    /// The known ones and these, e.g. `wiki.acme.example`.
    pub fn with(own: &[String]) -> Self {
        Self(own.iter().map(|host| host.to_lowercase()).collect())
    }

    /// What is wrong with a host as it stands in router.yaml.
    pub fn problem(host: &str) -> Option<String> {
        let is_host = url::Host::parse(host).is_ok() && !host.contains(['/', ':', '*', '@', ' ']);
        (!is_host).then(|| format!("`{host}` is no host; write e.g. wiki.acme.example, with all below it"))
    }

    /// An address that may be a link, as it is; any other one as text that nothing takes for a link.
    pub fn shown(&self, address: &str) -> String {
        if self.trusts(address) { address.to_owned() } else { inert(address) }
    }

    pub fn trusts(&self, address: &str) -> bool {
        let Ok(url) = url::Url::parse(address) else { return false };
        let Some(host) = url.host_str().filter(|_| url.scheme() == "https" && url.username().is_empty()) else {
            return false;
        };
        let is_below =
            |known: &str| host.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        KNOWN.into_iter().any(is_below) || self.0.iter().any(|own| is_below(own))
    }
}

fn inert(address: &str) -> String {
    address.split_once("://").map_or(address, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_known_hosts_and_of_ones_own_are_links() {
        let hosts = LinkHosts::with(&["Wiki.acme.example".to_owned()]);
        for good in [
            "https://www.cloudconformity.com/knowledge-base/aws/S3/x.html",
            "https://us-west-2.console.aws.amazon.com/ec2/v2/home?region=us-west-2#Instances:search=i-1",
            "https://wiki.acme.example/x",
            "https://a.wiki.acme.example",
        ] {
            assert!(hosts.trusts(good), "{good}");
            assert_eq!(hosts.shown(good), good);
        }
        for bad in [
            "https://login.evil.example/aws",
            "https://evilcloudconformity.com/",
            "https://cloudconformity.com.evil.example/",
            "https://cloudconformity.com@evil.example/",
            "https://a:b@cloudconformity.com/",
            "http://www.cloudconformity.com/",
            "javascript:alert(1)",
            "https:///",
            "",
        ] {
            assert!(!hosts.trusts(bad), "{bad}");
        }
        assert_eq!(hosts.shown("https://login.evil.example/aws"), "login.evil.example/aws");
    }

    #[test]
    fn a_host_of_router_yaml_is_a_name_and_nothing_more() {
        assert_eq!(LinkHosts::problem("wiki.acme.example"), None);
        for bad in ["https://wiki.acme.example", "wiki.acme.example/x", "*.acme.example", "a b", ""] {
            assert!(LinkHosts::problem(bad).is_some(), "{bad}");
        }
    }
}
