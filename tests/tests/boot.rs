//! The real thing: a Debian system boots, the package is installed by apt, and systemd runs the agent through all that befalls a service.
//!
//! Each step is one of a host's life and goes on where the last one ended. Skipped, with the reason, where no system can be booted
//! (`selvedge_tests::machine` says what it needs).

#![expect(clippy::print_stdout, reason = "a test that fails says on stdout how far it got")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use selvedge_tests::agent::binary;
use selvedge_tests::machine::Machine;
use selvedge_tests::skip;

/// How long anything may take that is bound to happen. A service of ours starts within a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the release before is called; of the same binary.
const BEFORE: &str = "0.0.1";

/// A token that an operator chose, in place of the one that the agent would make.
const TOKEN: &str = "5e1ed6e05e1ed6e05e1ed6e05e1ed6e05e1ed6e05e1ed6e05e1ed6e05e1ed6e0";

/// A host in its life, and what was written on it.
struct Host {
    machine: Machine,
    began: Instant,
    /// What `gcounter/kept` holds.
    kept: u64,
}

#[test]
fn a_host_is_installed_used_upgraded_broken_and_taken_out_of_service() {
    let machine = match Machine::try_boot() {
        Ok(machine) => machine,
        Err(why) => return skip("boot", &why),
    };
    let mut host = Host { machine, began: Instant::now(), kept: 0 };
    let folder = tempfile::tempdir().expect("a folder");
    host.brings(&with_the_unit_where_it_was(folder.path(), &package(folder.path(), Some(BEFORE))), "before.deb");
    host.brings(&package(folder.path(), None), "now.deb");
    host.brings(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kept/format-2.tar.gz"), "format-2.tar.gz");
    host.is_installed();
    host.becomes_a_member();
    host.lets_in_whom_it_should();
    host.runs_a_workload();
    host.tells_its_users_apart();
    host.is_reloaded_with_what_is_sound();
    host.is_upgraded();
    host.is_reinstalled();
    host.logs_with_fields();
    host.says_why_it_does_not_start();
    host.boots_again();
    host.survives_a_kill();
    host.is_restarted_when_it_stands_still();
    host.stops_without_losing_a_write();
    host.keeps_its_data_elsewhere();
    host.is_removed_and_comes_back();
    host.is_purged_around_what_lies_elsewhere();
    host.is_purged();
}

/// Packs the binary under test.
fn package(folder: &Path, version: Option<&str>) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("deploy/package");
    let mut pack = Command::new(script);
    pack.arg("--binary").arg(binary()).arg("--out").arg(folder);
    if let Some(version) = version {
        pack.args(["--version", version]);
    }
    // A package that is unpacked once or twice is not worth the time that compressing it takes; what may be how large is for another step.
    pack.arg("--any-size").env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    let output = pack.output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}

/// The same package as releases before the merged /usr were laid out: with the unit below /lib.
fn with_the_unit_where_it_was(folder: &Path, package: &Path) -> PathBuf {
    let (root, laid_out) = (folder.join("root"), folder.join("before.deb"));
    let line = r#"dpkg-deb --raw-extract "$1" "$2" && mkdir "$2/lib" && mv "$2/usr/lib/systemd" "$2/lib/" &&
        sed -i 's|  usr/lib/systemd/|  lib/systemd/|' "$2/DEBIAN/md5sums" && dpkg-deb -Znone --root-owner-group --build "$2" "$3""#;
    let output =
        Command::new("sh").args(["-c", line, "sh"]).args([package, &root, &laid_out]).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    laid_out
}

impl Host {
    fn sh(&self, line: &str) -> String {
        self.machine.sh(line)
    }

    fn eventually(&self, what: &str, line: &str) {
        self.machine.eventually(what, PATIENCE, line);
    }

    /// How far it got: whoever reads a failure wants to know.
    fn note(&self, step: &str) {
        println!("{:5.1} s: {step}", self.began.elapsed().as_secs_f64());
    }

    fn brings(&self, package: &Path, name: &str) {
        fs::copy(package, self.machine.file("/root").join(name)).expect("is copied");
    }

    /// A property of the service, as systemd knows it.
    fn property(&self, name: &str) -> String {
        self.sh(&format!("systemctl show selvedge --value --property {name}"))
    }

    /// The service is up, which it says itself, and all is there that was written.
    fn serves(&self, step: &str) {
        self.eventually("the service is up", "systemctl is-active --quiet selvedge");
        let kept = self.sh("selvedge get gcounter/kept --json || true");
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap_or_default();
        assert_eq!(kept["value"].as_u64().unwrap_or_default(), self.kept, "after: {step}\n{}", self.journal());
        self.note(step);
    }

    fn writes(&mut self, count: u64) {
        self.sh(&format!("selvedge put gcounter/kept increment {count} --durable"));
        self.kept += count;
    }

    fn journal(&self) -> String {
        self.sh("journalctl --unit selvedge --no-pager --lines 40 || true")
    }

    fn is_installed(&self) {
        // Where systemd looks for secrets of services.
        self.sh(&format!("mkdir -p /etc/credstore && (umask 077 && echo {TOKEN} > /etc/credstore/selvedge.api-token)"));
        self.sh("apt-get install --yes /root/before.deb");
        assert_eq!(self.sh("systemctl is-enabled selvedge"), "enabled");
        self.serves("installed: enabled, started, ready");
        assert!(self.property("StatusText").starts_with("running"), "{}", self.property("StatusText"));
        self.sh("selvedge check-config /etc/selvedge/selvedge.toml");
        self.sh("test -s /usr/share/man/man1/selvedge-run.1.gz && test -s /usr/share/man/man5/selvedge.toml.5.gz");
        self.sh("bash -n /usr/share/bash-completion/completions/selvedge");
        // In tenths: 1.5 of 10.
        self.sh("systemd-analyze security --no-pager --threshold=15 selvedge.service");
    }

    /// As an operator does it, as root: what is written belongs to the service all the same.
    fn becomes_a_member(&mut self) {
        let refused = self.machine.run(&["selvedge", "init", "--data-dir", "/var/lib/selvedge"]);
        assert!(refused.code == 1 && refused.stderr.contains("stop it first"), "{refused:?}");
        self.sh("systemctl stop selvedge");
        self.sh("selvedge init --data-dir /var/lib/selvedge --cluster games --name edge-1");
        assert_eq!(self.sh("find /var/lib/selvedge ! -user selvedge"), "");
        self.sh("systemctl start selvedge");
        assert!(self.sh("selvedge status --json").contains("\"games\""));
        self.writes(3);
        self.serves("founded a cluster");
    }

    fn lets_in_whom_it_should(&self) {
        assert_eq!(self.sh("stat --format '%U:%G %a' /run/selvedge/api.sock"), "selvedge:selvedge 660");
        assert_eq!(self.sh("stat --format '%U:%G %a' /var/lib/selvedge"), "selvedge:selvedge 700");
        self.sh("useradd --groups selvedge alice && useradd mallory");
        let put = "selvedge put gset/who add someone --api unix:/run/selvedge/api.sock";
        let tries = |who: &str| self.machine.run(&["sh", "-c", &format!("runuser -u {who} -- {put}")]);
        assert_eq!(tries("alice").code, 0, "{:?}", tries("alice"));
        assert_ne!(tries("mallory").code, 0);
        // Over TCP with the token that the operator chose, and with no other.
        let over_tcp = "selvedge put gset/who add someone --api http://127.0.0.1:7411";
        self.sh(&format!("SELVEDGE_TOKEN={TOKEN} {over_tcp}"));
        let wrong = self.machine.run(&["sh", "-c", &format!("SELVEDGE_TOKEN={} {over_tcp}", TOKEN.replace('5', "6"))]);
        assert_eq!(wrong.code, 1, "{wrong:?}");
        self.note("the group and the token let in whom they should");
        // As root and as somebody who may see nothing of it: neither finds anything wrong with what is right.
        for who in ["root", "alice", "mallory"] {
            let told = self.sh(&format!("runuser -u {who} -- selvedge doctor --json || true"));
            let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
            let wrong = |check: &&serde_json::Value| {
                let findings = check["findings"].as_array().into_iter().flatten();
                // A container follows no time service, and its disk is the test's.
                !["clock", "disk"].contains(&check["check"].as_str().unwrap_or_default())
                    && findings.clone().any(|finding| finding["severity"] != "note")
            };
            let wrong: Vec<_> = told["checks"].as_array().expect("checks").iter().filter(wrong).collect();
            assert!(wrong.is_empty(), "{who}: {wrong:#?}");
        }
        self.note("the doctor finds nothing, whoever asks");
    }

    fn runs_a_workload(&self) {
        self.sh("selvedge deploy /usr/share/selvedge/workloads/prediction.wasm --name prediction --timeout 2m");
        assert_eq!(self.sh("selvedge call prediction predict '[]'"), "[]");
        self.note("runs a workload from the package");
    }

    /// Each has a share of its own of what callers may do.
    fn tells_its_users_apart(&self) {
        self.sh("useradd --groups selvedge bob");
        let config = "/etc/selvedge/selvedge.toml";
        let limit = "s/^\\[api\\]$/[api]\\ncall_rate = { per_s = 1, burst = 1 }/";
        self.sh(&format!("cp {config} /root/before.toml && sed -i '{limit}' {config} && grep -q ^call_rate {config}"));
        self.sh("systemctl restart selvedge");
        self.eventually("the workload is back", "selvedge call prediction predict '[]'");
        let call = "selvedge call prediction predict '[]' --json";
        let told = self.sh(&format!("for n in 1 2 3 4 5 6; do runuser -u alice -- {call} 2>&1; done || true"));
        assert!(told.contains("rate_limited"), "{told}");
        self.sh(&format!("runuser -u alice -- {call} >/dev/null 2>&1; runuser -u bob -- {call}"));
        self.sh(&format!("cp /root/before.toml {config} && systemctl restart selvedge"));
        self.eventually("the workload is back", "selvedge call prediction predict '[]'");
        self.note("what one user may do takes nothing from another");
    }

    fn is_reloaded_with_what_is_sound(&self) {
        let (config, before) = ("/etc/selvedge/selvedge.toml", self.property("MainPID"));
        self.sh("systemctl reload selvedge");
        self.sh(&format!("cp {config} /root/before.toml && echo 'nonsense = 1' >> {config}"));
        let refused = self.machine.run(&["systemctl", "reload", "selvedge"]);
        assert_ne!(refused.code, 0, "a configuration that is none was taken: {refused:?}");
        assert!(self.journal().contains("nonsense"), "{}", self.journal());
        self.sh(&format!("cp /root/before.toml {config} && systemctl reload selvedge"));
        assert_eq!(self.property("MainPID"), before, "it ran all the while");
        self.serves("reloaded, and not with a broken configuration");
    }

    /// From a release whose data is of the second format, and whose account was one that systemd had made up.
    fn is_upgraded(&self) {
        self.sh("systemctl stop selvedge && mv /var/lib/selvedge /root/life && mkdir /var/lib/selvedge");
        self.sh("tar -xzf /root/format-2.tar.gz -C /var/lib/selvedge && chown -R 61234:61234 /var/lib/selvedge");
        self.sh("apt-get install --yes /root/now.deb");
        assert_eq!(self.property("ActiveState"), "inactive", "it was stopped, and an upgrade does not start it");
        self.sh("systemctl start selvedge");
        assert!(self.journal().contains("newer format"), "{}", self.journal());
        assert_eq!(self.sh("find /var/lib/selvedge ! -user selvedge"), "");
        let value = |key: &str| self.sh(&format!("selvedge get {key} | tr -d '[:space:]'"));
        let there = ["gset/a", "gset/b", "gcounter/kills-1", "gcounter/kills-2"].map(value);
        assert_eq!(there, ["[1]", "[2]", "6", "4"], "what the earlier release had written");
        self.sh("systemctl stop selvedge && rm -r /var/lib/selvedge && mv /root/life /var/lib/selvedge");
        self.sh("apt-get install --yes --allow-downgrades /root/before.deb && systemctl start selvedge");
        self.note("upgraded from an earlier format, with what was written then, and with owners put right");
    }

    fn is_reinstalled(&mut self) {
        self.writes(4);
        // An operator's change to the configuration outlives it.
        self.sh("echo '# ours' >> /etc/selvedge/selvedge.toml");
        let before = self.property("MainPID");
        self.sh("apt-get install --yes /root/now.deb");
        assert_ne!(self.property("MainPID"), before);
        assert_ne!(self.sh("dpkg-query --show --showformat '${Version}' selvedge"), BEFORE);
        self.sh("grep -q ours /etc/selvedge/selvedge.toml && test -e /usr/lib/systemd/system/selvedge.service");
        self.eventually("the workload is back", "selvedge call prediction predict '[]'");
        self.serves("reinstalled under a newer version, with what was written before");
    }

    fn logs_with_fields(&self) {
        let line = self.sh("journalctl --unit selvedge --output json --no-pager | grep SELVEDGE_KEYS | tail --lines 1");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(line["SYSLOG_IDENTIFIER"], "selvedge");
        assert!(line["MESSAGE"].as_str().is_some_and(|text| text.starts_with("recovered")), "{line}");
        self.note("the journal has fields");
    }

    /// A start that fails says why where people look: in the log's last error, in the status, and to the doctor.
    fn says_why_it_does_not_start(&mut self) {
        let config = "/etc/selvedge/selvedge.toml";
        self.sh(&format!("cp {config} /root/before.toml && echo 'nonsense = 1' >> {config}"));
        assert_ne!(self.machine.run(&["systemctl", "restart", "selvedge"]).code, 0);
        assert_eq!(self.property("ExecMainStatus"), "2");
        assert!(self.property("StatusText").contains("nonsense"), "{}", self.property("StatusText"));
        let error =
            self.sh("journalctl --unit selvedge --identifier selvedge -p err --lines 1 --output cat --no-pager");
        assert!(error.starts_with("error: ") && error.contains("nonsense"), "{error}");
        let found = |what: &str| {
            let told = self.sh("selvedge doctor || true");
            assert!(told.contains("error: service: ") && told.contains(what), "{told}");
        };
        found("exit code 2, its configuration or a credential is wrong; it said last: error: ");
        self.sh(&format!("cp /root/before.toml {config} && systemctl start selvedge"));
        // A fault that the next start may find mended is tried again and again.
        self.sh("systemctl stop selvedge && mv /var/lib/selvedge/node.key /root/ && mkdir /var/lib/selvedge/node.key");
        drop(self.machine.run(&["systemctl", "start", "selvedge"]));
        self.eventually("it is tried again", "test $(systemctl show selvedge --value --property NRestarts) -gt 0");
        found("started again");
        found("node.key");
        self.sh(
            "rmdir /var/lib/selvedge/node.key && mv /root/node.key /var/lib/selvedge/ && systemctl restart selvedge",
        );
        // One that systemd itself cannot mend.
        let drop_in = "/etc/systemd/system/selvedge.service.d";
        self.sh(&format!(
            "mkdir -p {drop_in} && printf '[Service]\\nLoadCredential=more:/nowhere\\n' > {drop_in}/more.conf"
        ));
        self.sh("systemctl daemon-reload");
        drop(self.machine.run(&["systemctl", "restart", "selvedge"]));
        found("cannot hand it its credentials");
        self.sh(&format!("rm -r {drop_in} && systemctl daemon-reload && systemctl restart selvedge"));
        self.eventually("the workload is back", "selvedge call prediction predict '[]'");
        self.serves("said why it did not start, and started");
    }

    fn boots_again(&mut self) {
        self.machine.reboot();
        self.serves("came up with its host");
    }

    fn survives_a_kill(&mut self) {
        self.writes(5);
        let restarts = self.property("NRestarts");
        self.sh("systemctl kill --signal KILL --kill-who main selvedge");
        self.eventually(
            "systemd brings it back",
            &format!("test $(systemctl show selvedge --value --property NRestarts) -gt {restarts}"),
        );
        self.serves("killed and brought back");
    }

    /// The watchdog of the unit, with a shorter time.
    fn is_restarted_when_it_stands_still(&mut self) {
        self.sh("mkdir -p /etc/systemd/system/selvedge.service.d");
        self.sh("printf '[Service]\\nWatchdogSec=3\\n' > /etc/systemd/system/selvedge.service.d/watchdog.conf");
        self.sh("systemctl daemon-reload && systemctl restart selvedge");
        self.writes(6);
        let before = self.property("MainPID");
        self.sh("systemctl kill --signal STOP --kill-who main selvedge");
        self.eventually("systemd notices", "journalctl --unit selvedge --no-pager | grep -q 'Watchdog timeout'");
        self.eventually("systemd starts another", &format!("systemctl is-active --quiet selvedge && test $(systemctl show selvedge --value --property MainPID) != {before}"));
        self.sh("rm -r /etc/systemd/system/selvedge.service.d && systemctl daemon-reload");
        self.serves("stood still and was restarted");
    }

    /// Somebody writes all the while, and counts what was acknowledged.
    fn stops_without_losing_a_write(&mut self) {
        // What nobody had to wait for the disk for is to be there as well.
        let writers = [("waited", "--durable"), ("plain", "")];
        for (name, how) in writers {
            self.sh(&format!("rm -f /tmp/{name}; (while selvedge put gcounter/{name} increment 1 {how} >/dev/null 2>&1; do echo >> /tmp/{name}; done) >/dev/null 2>&1 &"));
        }
        for (name, _) in writers {
            self.eventually(
                "a few are acknowledged",
                &format!("test -e /tmp/{name} && test $(wc -l < /tmp/{name}) -ge 5"),
            );
        }
        self.sh("systemctl stop selvedge");
        assert_eq!((self.property("Result"), self.property("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
        let acked = writers.map(|(name, _)| self.sh(&format!("wc -l < /tmp/{name}")).parse::<u64>().expect("a number"));
        self.sh("systemctl start selvedge");
        for ((name, _), acked) in writers.into_iter().zip(acked) {
            let there: u64 = self.sh(&format!("selvedge get gcounter/{name}")).parse().expect("a number");
            assert!(there == acked || there == acked + 1, "{name}: {acked} were acknowledged, and {there} are there");
        }
        self.serves("stopped in time, with every acknowledged write");
    }

    /// Refused with what to do about it, and right with what the page shows.
    fn keeps_its_data_elsewhere(&self) {
        let config = "/etc/selvedge/selvedge.toml";
        let elsewhere = "s|^# data_dir = .*|data_dir = \"/srv/selvedge\"|";
        self.sh(&format!(
            "cp {config} /root/before.toml && sed -i '{elsewhere}' {config} && grep -q ^data_dir {config}"
        ));
        self.sh("install -d -o selvedge -g selvedge -m 700 /srv/selvedge");
        assert_ne!(self.machine.run(&["systemctl", "restart", "selvedge"]).code, 0);
        assert!(self.journal().contains("ReadWritePaths="), "{}", self.journal());
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("docs/package.md");
        let page = fs::read_to_string(page).expect("the page");
        let drop_in = page.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a drop-in");
        let folder = "/etc/systemd/system/selvedge.service.d";
        self.sh(&format!("mkdir -p {folder}"));
        fs::write(self.machine.file(folder).join("data.conf"), drop_in).expect("is written");
        self.sh("systemctl daemon-reload && systemctl restart selvedge && test -e /srv/selvedge/node.key");
        self.sh(&format!("rm -r {folder} && systemctl daemon-reload && cp /root/before.toml {config}"));
        self.sh("systemctl restart selvedge && rm -r /srv/selvedge");
        self.serves("kept its data elsewhere for a while");
    }

    fn is_removed_and_comes_back(&mut self) {
        let node = self.sh("selvedge status --json | grep -m1 '\"id\"'");
        self.sh("apt-get remove --yes selvedge");
        assert_ne!(self.machine.run(&["systemctl", "is-active", "selvedge"]).code, 0);
        self.sh(
            "test ! -e /usr/bin/selvedge && test -e /var/lib/selvedge/node.key && test -e /etc/selvedge/selvedge.toml",
        );
        self.sh("apt-get install --yes /root/now.deb");
        self.serves("removed and installed again, with its data");
        assert_eq!(self.sh("selvedge status --json | grep -m1 '\"id\"'"), node);
    }

    /// What somebody has put elsewhere stays, and whoever purges is told where the keys still are.
    fn is_purged_around_what_lies_elsewhere(&self) {
        let purge = || self.sh("apt-get purge --yes selvedge 2>&1");
        self.sh("mkdir /srv/assets && touch /srv/assets/one && mount --bind /srv/assets /var/lib/selvedge/assets");
        let told = purge();
        assert!(
            told.contains("/var/lib/selvedge stays") && told.contains("unmount /var/lib/selvedge/assets"),
            "{told}"
        );
        self.sh("test -e /srv/assets/one && test -e /var/lib/selvedge/node.key && umount /var/lib/selvedge/assets");
        // Or the next account that is made could get its number, and the keys with it.
        assert!(told.contains("the account and group selvedge stay"), "{told}");
        self.sh("getent passwd selvedge && getent group selvedge");
        self.sh("rm -r /var/lib/selvedge && apt-get install --yes /root/now.deb && systemctl stop selvedge");
        self.sh("mv /var/lib/selvedge /srv/data && ln -s /srv/data /var/lib/selvedge");
        let told = purge();
        assert!(told.contains("keys in /srv/data stay"), "{told}");
        self.sh("test -e /srv/data/node.key && test ! -L /var/lib/selvedge && getent passwd selvedge");
        self.sh("apt-get install --yes /root/now.deb");
        self.note("purged, but for what lies elsewhere");
    }

    fn is_purged(&self) {
        // As on a host that has a disk of its own for it.
        self.sh("mount --bind /var/lib/selvedge /var/lib/selvedge");
        self.sh("apt-get purge --yes selvedge");
        assert_eq!(self.sh("ls -A /var/lib/selvedge && umount /var/lib/selvedge && rmdir /var/lib/selvedge"), "");
        self.sh("test ! -e /etc/selvedge && test ! -e /run/selvedge");
        self.sh("! getent passwd selvedge && ! getent group selvedge");
        assert_eq!(self.sh("systemctl list-unit-files 'selvedge*' --no-legend || true"), "");
        self.note("purged");
    }
}

#[test]
fn the_unit_is_as_closed_as_it_says() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("deploy/selvedge.service");
    // In tenths: 1.5 of 10.
    let mut judge = Command::new("systemd-analyze");
    judge.args(["security", "--offline=true", "--no-pager", "--threshold=15"]).arg(unit);
    match judge.output() {
        Ok(judged) => assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout)),
        Err(error) => skip("systemd-analyze", &error.to_string()),
    }
}
