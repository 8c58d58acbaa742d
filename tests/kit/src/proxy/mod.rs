//! Proxies that make a connection slow or faulty.
