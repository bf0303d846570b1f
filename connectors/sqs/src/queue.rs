//! How queues are spoken of: by name, URL or ARN.
//!
//! Pure. A URL or an ARN also says in which region the queue is, and a URL which endpoint serves
//! it. Within one connector a queue is known by its name: that is what functions are matched on.

use std::fmt;
use std::str::FromStr;

/// The most characters of a queue's name, the suffix of a FIFO queue included.
const LONGEST_NAME: usize = 80;
/// What the name of every FIFO queue ends in, and of no other.
const FIFO: &str = ".fifo";

/// A queue as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueueRef {
    name: String,
    home: Home,
}

/// Where a queue is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Home {
    /// In the region and account of the credentials.
    Ours,
    /// Where its URL says.
    Url {
        /// As written.
        url: String,
        /// The region that the host's name tells.
        region: Option<String>,
        /// The endpoint to ask, where it is not the region's usual one.
        endpoint: Option<String>,
    },
    /// Where its ARN says.
    Arn {
        /// The region.
        region: String,
        /// The account that owns it.
        account: String,
    },
}

impl QueueRef {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The region it is in, if it tells.
    pub(crate) fn region(&self) -> Option<&str> {
        match &self.home {
            Home::Ours => None,
            Home::Url { region, .. } => region.as_deref(),
            Home::Arn { region, .. } => Some(region),
        }
    }

    /// The endpoint that serves it, where that is not its region's usual one.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        match &self.home {
            Home::Url { endpoint, .. } => endpoint.as_deref(),
            Home::Ours | Home::Arn { .. } => None,
        }
    }

    /// Whether it is a FIFO queue: SQS tells by the name.
    pub(crate) fn is_fifo(&self) -> bool {
        self.name.ends_with(FIFO)
    }

    /// Whether the two cannot be one queue, although their names are equal.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        let differ = |one: Option<&str>, other: Option<&str>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        self.name != other.name
            || differ(self.region(), other.region())
            || differ(self.account(), other.account())
    }

    fn account(&self) -> Option<&str> {
        match &self.home {
            Home::Ours => None,
            // The path before the name: `/123456789012/orders`.
            Home::Url { url, .. } => url.rsplit('/').nth(1),
            Home::Arn { account, .. } => Some(account),
        }
    }

    /// How much it tells, to choose among several ways to write one queue.
    pub(crate) fn detail(&self) -> u8 {
        match self.home {
            Home::Ours => 0,
            Home::Arn { .. } => 1,
            Home::Url { .. } => 2,
        }
    }
}

impl fmt::Display for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.home {
            Home::Ours => f.write_str(&self.name),
            Home::Url { url, .. } => f.write_str(url),
            Home::Arn { region, account } => {
                write!(f, "arn:aws:sqs:{region}:{account}:{}", self.name)
            }
        }
    }
}

impl FromStr for QueueRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("arn:") {
            return arn(rest);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return url(text, scheme, rest);
        }
        check_name(text)?;
        Ok(Self { name: text.to_owned(), home: Home::Ours })
    }
}

/// Whether this is meant to be an ARN or a URL.
pub(crate) fn is_address(text: &str) -> bool {
    text.starts_with("arn:") || text.contains("://")
}

fn check_name(name: &str) -> Result<(), String> {
    let stem = name.strip_suffix(FIFO).unwrap_or(name);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if stem.is_empty() || name.len() > LONGEST_NAME || !stem.bytes().all(legal) {
        return Err(format!(
            "not an SQS queue: a name has 1 to {LONGEST_NAME} letters, digits, dashes and \
             underscores, and may end in {FIFO}"
        ));
    }
    Ok(())
}

/// `<partition>:sqs:<region>:<account>:<name>`.
fn arn(rest: &str) -> Result<QueueRef, String> {
    let parts: Vec<&str> = rest.split(':').collect();
    let &[partition, "sqs", region, account, name] = parts.as_slice() else {
        return Err("not the ARN of an SQS queue: arn:aws:sqs:REGION:ACCOUNT:NAME".to_owned());
    };
    if !partition.starts_with("aws") || region.is_empty() || account.is_empty() {
        return Err("not the ARN of an SQS queue: it lacks its region or account".to_owned());
    }
    check_name(name)?;
    let home = Home::Arn { region: region.to_owned(), account: account.to_owned() };
    Ok(QueueRef { name: name.to_owned(), home })
}

fn url(text: &str, scheme: &str, rest: &str) -> Result<QueueRef, String> {
    if !matches!(scheme, "http" | "https") {
        return Err("not the URL of an SQS queue: it begins with http:// or https://".to_owned());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') || text.contains(['?', '#']) {
        return Err("not the URL of an SQS queue: https://HOST/ACCOUNT/NAME".to_owned());
    }
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    check_name(name).map_err(|_| {
        format!("not the URL of an SQS queue: its last part, `{name}`, is not the name of a queue")
    })?;
    let host = authority.split(':').next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let home = Home::Url {
        url: text.trim_end_matches('/').to_owned(),
        region: region_of(&host),
        endpoint: (!is_usual(&host)).then(|| format!("{scheme}://{authority}")),
    };
    Ok(QueueRef { name: name.to_owned(), home })
}

/// The region in the name of a host that serves SQS: `sqs.eu-west-1.amazonaws.com`,
/// `eu-west-1.queue.amazonaws.com`, `vpce-1.sqs.eu-west-1.vpce.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    if host == "queue.amazonaws.com" {
        return Some("us-east-1".to_owned());
    }
    let labels: Vec<&str> = host.split('.').collect();
    let serves = labels.iter().any(|label| matches!(*label, "sqs" | "sqs-fips" | "queue"));
    let region = labels.into_iter().find(|label| is_region(label))?;
    serves.then(|| region.to_owned())
}

/// Two letters, words, a digit: `us-gov-west-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return false };
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    first.len() >= 2
        && word(first)
        && !middle.is_empty()
        && middle.iter().all(word)
        && !last.is_empty()
        && last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the SDK would ask this very service by the region alone. It then also heeds the settings
/// of the AWS tools, such as FIPS endpoints.
fn is_usual(host: &str) -> bool {
    let amazon = host.strip_suffix(".cn").unwrap_or(host).strip_suffix(".amazonaws.com");
    let Some(host) = amazon else { return false };
    host == "queue"
        || host.strip_suffix(".queue").is_some_and(is_region)
        || host.strip_prefix("sqs.").is_some_and(is_region)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(text: &str) -> QueueRef {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn the_hosts_of_aws_tell_their_region() {
        for (url, region, endpoint) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders", Some("eu-west-1"), None),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/orders", Some("cn-north-1"), None),
            ("https://sqs.us-gov-west-1.amazonaws.com/1/orders", Some("us-gov-west-1"), None),
            ("https://eu-west-1.queue.amazonaws.com/1/orders", Some("eu-west-1"), None),
            ("https://queue.amazonaws.com/1/orders", Some("us-east-1"), None),
            (
                "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/1/orders",
                Some("eu-west-1"),
                Some("https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com"),
            ),
            (
                "https://sqs-fips.us-east-2.amazonaws.com/1/orders",
                Some("us-east-2"),
                Some("https://sqs-fips.us-east-2.amazonaws.com"),
            ),
            (
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/orders",
                Some("eu-west-1"),
                Some("http://sqs.eu-west-1.localhost.localstack.cloud:4566"),
            ),
            ("http://elasticmq:9324/000000000000/orders", None, Some("http://elasticmq:9324")),
            ("http://elasticmq:9324/queue/orders", None, Some("http://elasticmq:9324")),
        ] {
            let queue = queue(url);
            assert_eq!(queue.name(), "orders", "{url}");
            assert_eq!(queue.region(), region, "{url}");
            assert_eq!(queue.endpoint(), endpoint, "{url}");
        }
    }

    #[test]
    fn what_is_no_queue_is_refused() {
        for text in [
            "",
            " ",
            ".fifo",
            "orders.created",
            "orders.*",
            "sensors/+/temp",
            "^orders",
            "https://",
            "https://sqs.eu-west-1.amazonaws.com",
            "https://sqs.eu-west-1.amazonaws.com/",
            "ftp://host/1/orders",
            "https://user:secret@host/1/orders",
            "https://host/1/orders?x=1",
            "arn:aws:sns:eu-west-1:1:orders",
            "arn:aws:sqs:eu-west-1:orders",
            "arn:aws:sqs::1:orders",
            "arn:aws:sqs:eu-west-1:1:a b",
        ] {
            assert!(text.parse::<QueueRef>().is_err(), "{text}");
        }
        assert!("x".repeat(81).parse::<QueueRef>().is_err());
    }

    #[test]
    fn only_queues_that_may_be_one_agree() {
        let name = queue("orders");
        let arn = queue("arn:aws:sqs:eu-west-1:123456789012:orders");
        let url = queue("https://sqs.eu-west-1.amazonaws.com/123456789012/orders");
        let elsewhere = queue("https://sqs.eu-west-2.amazonaws.com/123456789012/orders");
        let foreign = queue("https://sqs.eu-west-1.amazonaws.com/999999999999/orders");
        for agreeing in [&arn, &url] {
            assert!(!name.contradicts(agreeing) && !agreeing.contradicts(&arn));
        }
        for other in [&elsewhere, &foreign] {
            assert!(url.contradicts(other) && arn.contradicts(other) && !name.contradicts(other));
        }
    }

    proptest! {
        /// Name, ARN and URL of one queue lead to one name, and writing a reference and reading it
        /// again changes nothing.
        #[test]
        fn all_ways_to_write_a_queue_agree(
            stem in "[A-Za-z0-9_-]{1,75}",
            fifo: bool,
            region in "[a-z]{2}-[a-z]{3,9}-[1-9]",
            account in "[0-9]{12}",
        ) {
            let name = if fifo { format!("{stem}{FIFO}") } else { stem };
            let url = format!("https://sqs.{region}.amazonaws.com/{account}/{name}");
            let arn = format!("arn:aws:sqs:{region}:{account}:{name}");
            for text in [&name, &url, &arn] {
                let read = queue(text);
                prop_assert_eq!(read.name(), &name);
                prop_assert_eq!(read.is_fifo(), fifo);
                prop_assert_eq!(&queue(&read.to_string()), &read);
            }
            let (url, arn) = (queue(&url), queue(&arn));
            prop_assert_eq!(url.region(), arn.region());
            prop_assert!(!url.contradicts(&arn));
        }

        /// Whatever somebody writes into an annotation, it is read or refused.
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,100}") {
            if let Ok(read) = text.parse::<QueueRef>() {
                prop_assert!(check_name(read.name()).is_ok());
            }
        }
    }
}
