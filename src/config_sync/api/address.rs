//! Where the platform is, and which one it is.

/// The two APIs of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Legacy Conformity and Cloud One.
    Conformity,
    /// Vision One, Cloud Risk Management.
    VisionOne,
}

/// Before an address that does not say by itself that it is Vision One.
const PREFIX: &str = "vision-one+";
/// Regions of Vision One with their hosts.
const VISION_ONE: [(&str, &str); 11] = [
    ("us", "api.xdr.trendmicro.com"),
    ("eu", "api.eu.xdr.trendmicro.com"),
    ("sg", "api.sg.xdr.trendmicro.com"),
    ("jp", "api.xdr.trendmicro.co.jp"),
    ("au", "api.au.xdr.trendmicro.com"),
    ("in", "api.in.xdr.trendmicro.com"),
    ("mea", "api.mea.xdr.trendmicro.com"),
    ("uk", "api.uk.xdr.trendmicro.com"),
    ("ca", "api.ca.xdr.trendmicro.com"),
    ("za", "api.za.xdr.trendmicro.com"),
    ("usgov", "api.usgov.xdr.trendmicro.com"),
];

/// `us-1` (Cloud One), `us-west-2` (legacy), `vision-one-eu` or a URL; `vision-one+https://…` is Vision One behind
/// another name.
///
/// # Errors
/// The text is none of these, or plain http to another machine.
pub fn base_url(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    if let Some(region) = text.strip_prefix("vision-one-") {
        return match VISION_ONE.iter().find(|(name, _)| *name == region) {
            Some((_, host)) => Ok(format!("https://{host}")),
            None => {
                let names: Vec<&str> = VISION_ONE.iter().map(|(name, _)| *name).collect();
                Err(format!("Vision One has no region `{region}`; it has: {}", names.join(", ")))
            }
        };
    }
    let plain = text.strip_prefix(PREFIX).unwrap_or(text);
    if let Ok(url) = url::Url::parse(plain)
        && url.has_host()
    {
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !loopback {
            return Err(format!("`{plain}`: the key must not travel in plain text; use https"));
        }
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [_, number] | ["trend", _, number] if number.parse::<u8>().is_ok() => {
            Ok(format!("https://conformity.{text}.cloudone.trendmicro.com/api"))
        }
        [_, _, number] if number.parse::<u8>().is_ok() => Ok(format!("https://{text}-api.cloudconformity.com/v1")),
        _ => Err(format!("`{text}` is neither a URL nor a region such as us-1, us-west-2 or vision-one-us")),
    }
}

/// Platform and plain address of what [`base_url`] gave.
pub(super) fn address(base: &str) -> (Platform, &str) {
    if let Some(plain) = base.strip_prefix(PREFIX) {
        return (Platform::VisionOne, plain);
    }
    let url = url::Url::parse(base).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let known = VISION_ONE.iter().any(|(_, known)| *known == host);
    (if known { Platform::VisionOne } else { Platform::Conformity }, base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_addresses_give_the_base() {
        assert_eq!(base_url("us-1").as_deref(), Ok("https://conformity.us-1.cloudone.trendmicro.com/api"));
        assert_eq!(base_url("trend-us-1").as_deref(), Ok("https://conformity.trend-us-1.cloudone.trendmicro.com/api"));
        assert_eq!(base_url("ap-southeast-2").as_deref(), Ok("https://ap-southeast-2-api.cloudconformity.com/v1"));
        assert_eq!(base_url("http://127.0.0.1:9/v1/").as_deref(), Ok("http://127.0.0.1:9/v1"));
        assert_eq!(base_url("vision-one-jp").as_deref(), Ok("https://api.xdr.trendmicro.co.jp"));
        assert!(base_url("http://conformity.example/v1").is_err());
        assert!(base_url("vision-one+http://proxy.example").is_err());
        assert!(base_url("vision-one-mars").is_err_and(|text| text.contains("it has: us, eu")));
        assert!(base_url("nowhere").is_err());
    }

    #[test]
    fn the_address_says_which_platform_it_is() {
        assert_eq!(address("https://api.eu.xdr.trendmicro.com").0, Platform::VisionOne);
        assert_eq!(address("vision-one+http://127.0.0.1:9"), (Platform::VisionOne, "http://127.0.0.1:9"));
        assert_eq!(address("https://conformity.us-1.cloudone.trendmicro.com/api").0, Platform::Conformity);
    }
}
