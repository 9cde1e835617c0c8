//! Certificates for servers with TLS, made by `openssl`.

use super::servers::{Server, programs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A certificate authority, and a certificate for `127.0.0.1` that it has issued.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    pem: Vec<u8>,
}

/// Returns those of the [`programs`] that were built with TLS.
pub(crate) fn tls_programs() -> Vec<PathBuf> {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: openssl is not installed");
        return Vec::new();
    }
    let has_tls = |program: &PathBuf| {
        // The program ends at once with an error. With TLS, the error names the missing
        // certificate.
        let mut command = Command::new(program);
        let output = command.args(["--port", "0", "--tls-port", "1"]).output().expect("it starts");
        let is_known = String::from_utf8_lossy(&output.stdout).contains("tls-cert-file");
        if !is_known {
            eprintln!("skipped: {program:?} was built without TLS");
        }
        is_known
    };
    programs().into_iter().filter(has_tls).collect()
}

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Authority {
    pub(crate) fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("trc-certificates-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let extensions =
            "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n";
        std::fs::write(folder.join("extensions"), extensions).expect("written");
        let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj";
        run(&folder, &format!("{new} /CN=authority-{number} -x509 -days 2 -keyout ca.key -out ca.pem"));
        run(&folder, &format!("{new} /CN=server -keyout server.key -out server.csr"));
        let issue = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
        run(&folder, &format!("{issue} -extfile extensions -out server.pem"));
        let pem = std::fs::read(folder.join("ca.pem")).expect("a certificate");
        Self { folder, pem }
    }

    /// Starts a server that accepts only TLS. Its certificate is for `127.0.0.1`.
    pub(crate) fn start(&self, program: &Path, options: &[&str]) -> Server {
        let file = |name| self.folder.join(name).to_str().expect("text").to_owned();
        let [certificate, key, authority] = ["server.pem", "server.key", "ca.pem"].map(file);
        let mut all = vec!["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
        all.extend([
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &authority,
        ]);
        all.extend(options);
        Server::start(program, &all)
    }

    /// Returns the certificate of the authority.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }
}

fn run(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
