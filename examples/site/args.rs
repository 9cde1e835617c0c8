//! The command line.

use std::path::PathBuf;

pub(crate) const HELP: &str = "\
An ice-cream shop behind a response cache

Usage: cargo run --example site -- [OPTIONS]

Options:
  --port N     listen on this port of 127.0.0.1; 0 is any free one [default: 3000]
  --db PATH    use this database, created if missing, and keep it [default: a temporary one]
  --ttl N      the freshness lifetime of the report in seconds [default: 3600]
  --purge-secret S
               accept POST /purge?tag=flavours with `Authorization: Bearer S`
  --policy PATH
               replace lifetimes by this policy table, a JSON file, and apply it again when it changes
  --warm       fetch the popular pages before the first visitor arrives
  --redis URL  share the cache with other processes, in the Redis or Valkey server at
               redis://[[user]:password@]host[:port][/database]; needs `--features redis`
  --no-cache   run without the cache layers, for comparison
  --help       print this help";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) db: Option<PathBuf>,
    pub(crate) redis: Option<String>,
    pub(crate) policy: Option<PathBuf>,
    pub(crate) cache: bool,
    pub(crate) ttl: u64,
    pub(crate) warm: bool,
    pub(crate) purge_secret: Option<String>,
    pub(crate) help: bool,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            port: 3000,
            db: None,
            redis: None,
            policy: None,
            cache: true,
            ttl: 3600,
            warm: false,
            purge_secret: None,
            help: false,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--port" => {
                    let port = words.next().and_then(|port| port.parse().ok());
                    args.port = port.ok_or("--port needs a number from 0 to 65535")?;
                }
                "--db" => args.db = Some(words.next().ok_or("--db needs a path")?.into()),
                "--redis" => args.redis = Some(words.next().ok_or("--redis needs a URL")?),
                "--policy" => args.policy = Some(words.next().ok_or("--policy needs a path")?.into()),
                "--ttl" => {
                    let ttl = words.next().and_then(|ttl| ttl.parse().ok());
                    args.ttl = ttl.ok_or("--ttl needs a number of seconds")?;
                }
                "--purge-secret" => {
                    args.purge_secret = Some(words.next().ok_or("--purge-secret needs a secret")?)
                }
                "--warm" => args.warm = true,
                "--no-cache" => args.cache = false,
                "--help" | "-h" => args.help = true,
                _ => return Err(format!("unknown argument: {word}")),
            }
        }
        Ok(args)
    }
}
