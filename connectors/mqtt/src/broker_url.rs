//! The broker's address as people write it.
//!
//! The schemes are those of the connector this one replaces, and the registered `mqtt` and `mqtts`.
//! Without a scheme it is plain TCP. Names are not resolved here: that happens at each connect.

/// How the broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `tcp`, `mqtt`.
    Tcp,
    /// `ssl`, `tls`, `mqtts`, `tcps`.
    Tls,
    /// `ws`.
    WebSocket,
    /// `wss`.
    WebSocketTls,
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) scheme: Scheme,
    /// A name or an address; an IPv6 address in its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What follows the port: for WebSockets only, and beginning with `/` or empty.
    path: String,
}

impl BrokerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it. The address is not repeated: it may carry credentials.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let (scheme, default_port) = match &*scheme.to_ascii_lowercase() {
            "tcp" | "mqtt" => (Scheme::Tcp, 1883),
            "ssl" | "tls" | "mqtts" | "tcps" => (Scheme::Tls, 8883),
            "ws" => (Scheme::WebSocket, 80),
            "wss" => (Scheme::WebSocketTls, 443),
            _ => return Err("has a scheme that is none of tcp, mqtt, ssl, tls, mqtts, ws, wss"),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("carries credentials: set user and password, or better their files");
        }
        let is_web = matches!(scheme, Scheme::WebSocket | Scheme::WebSocketTls);
        if !is_web && !matches!(path, "" | "/") {
            return Err("has a path, which only ws and wss take");
        }
        if is_web && !(path.is_empty() || path.starts_with('/')) || path.contains('#') {
            return Err("has no valid path");
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The colon of an IPv6 address is none before a port.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, port.ok_or("has no valid port")?)
            }
            _ => (authority, default_port),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        if !is_host {
            return Err("has no valid host");
        }
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Tls | Scheme::WebSocketTls)
    }

    /// What the client takes for an address: for WebSockets the whole URL.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, path, .. } = self;
        let path = if path.is_empty() { "/" } else { path };
        match self.scheme {
            Scheme::Tcp | Scheme::Tls => host.clone(),
            Scheme::WebSocket => format!("ws://{host}:{port}{path}"),
            Scheme::WebSocketTls => format!("wss://{host}:{port}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write() {
        for (text, scheme, host, port, address) in [
            ("tcp://broker:1884", Scheme::Tcp, "broker", 1884, "broker"),
            ("mqtt://broker", Scheme::Tcp, "broker", 1883, "broker"),
            ("broker", Scheme::Tcp, "broker", 1883, "broker"),
            ("broker:1", Scheme::Tcp, "broker", 1, "broker"),
            ("SSL://broker/", Scheme::Tls, "broker", 8883, "broker"),
            ("tls://10.0.0.1:8884", Scheme::Tls, "10.0.0.1", 8884, "10.0.0.1"),
            ("mqtts://my_broker.local", Scheme::Tls, "my_broker.local", 8883, "my_broker.local"),
            ("tcp://[::1]", Scheme::Tcp, "[::1]", 1883, "[::1]"),
            ("tcp://[::1]:1884", Scheme::Tcp, "[::1]", 1884, "[::1]"),
            ("ws://b:8083/mqtt?a=b", Scheme::WebSocket, "b", 8083, "ws://b:8083/mqtt?a=b"),
            ("wss://b", Scheme::WebSocketTls, "b", 443, "wss://b:443/"),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!((url.scheme, &*url.host, url.port), (scheme, host, port), "{text}");
            assert_eq!(url.address(), address);
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "tcp://",
            "http://broker",
            "tcp://user:word@broker",
            "tcp://broker:0",
            "tcp://broker:65536",
            "tcp://broker:x",
            "tcp://broker:",
            "tcp://broker/path",
            "tcp://bro ker",
            "tcp://[::g]",
            "tcp://::1",
            "ws://b?x",
            "ws://b/#x",
        ] {
            assert!(BrokerUrl::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(tcp|ws)?(://)?[a-z:/@\\[\\]?#0-9]{0,12}") {
            drop(BrokerUrl::parse(&text));
        }
    }
}
