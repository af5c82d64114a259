use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(std::iter::once("selvedge").chain(line.split(' '))).map(|cli| cli.command)
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_works_is_in_the_help_and_nothing_else() {
    let shown = Cli::command();
    let shown = shown.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<_> = shown.map(|command| command.get_name().to_owned()).collect();
    let expect = "demo init invite invitations join run status nodes peers workloads top new deploy rollback undeploy call replay bench explain get put watch converged diff drain leave revoke rotate-authority doctor check-config completions version";
    assert_eq!(names.join(" "), expect);
}

#[test]
fn good_lines_are_taken() {
    let check = |line: &str| parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    check("status --watch --api unix:/x --timeout 500ms");
    check("nodes --json");
    check("peers --watch --json");
    check(
        "deploy a.wasm --name a --replicas 2 --require gpu avx2 --require fpu --affinity region=eu !node=a --no-wait",
    );
    check("deploy a.wasm --name a --config speed-max=7.5 --config zones=@zones.txt");
    check("deploy a.wasm --name a --on-overrun predict=[] --on-overrun count=0");
    check("call combat resolve []");
    check("call combat resolve -");
    check("call w f -5 1.5 text");
    check("call w f [] --record call.json");
    check("replay call.json");
    check("replay call.json --wasm w.wasm --json");
    check("replay call.json --data-dir d");
    check("put pncounter/hp increment -5");
    check("put lwwmap/player:42 put hp=-5 name=x --durable --idempotency-key k");
    check("converged --wait 10s --json");
    check("check-config /etc/selvedge.toml");
    check("demo --agents 16 --seconds 1 --rate 10 --json --keep");
    check("init --data-dir d --cluster games --name a --region eu");
    check("invite --ttl 1h --name b --json");
    check("join selvedge-join-x --data-dir d");
    check("drain");
    check("drain --off --json");
    check("drain --wait");
    check("drain --wait 30s --json");
    check("leave");
    check("revoke edge-3");
    check("watch gcounter/ki --json");
    check("new loot --dir games/loot --json");
    check("completions bash");
    check("version --json");
}

#[test]
fn bad_lines_are_wrong_usage() {
    let check = |line: &str, kind: ErrorKind| {
        let error = parse(line).expect_err(line);
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
    };
    check("statsu", ErrorKind::InvalidSubcommand);
    check("status --api ftp", ErrorKind::ValueValidation);
    check("status --timeout soon", ErrorKind::ValueValidation);
    check("watch", ErrorKind::MissingRequiredArgument);
    check("deploy a.wasm", ErrorKind::MissingRequiredArgument);
    check("deploy a.wasm --name a --replicas 2 --everywhere", ErrorKind::ArgumentConflict);
    check("put gcounter/kills", ErrorKind::MissingRequiredArgument);
    check("demo --agents 17", ErrorKind::ValueValidation);
    check("demo --agents 0", ErrorKind::ValueValidation);
    check("completions tcsh", ErrorKind::InvalidValue);
    check("check-config", ErrorKind::MissingRequiredArgument);
    check("put gcounter/kills increment 5 --dry-run", ErrorKind::UnknownArgument);
}

#[test]
fn flags_of_run_may_be_repeated_or_listed() {
    let Command::Run(run) = parse("run --listen a:1 --listen b:2,c:3 --api unix:/x --bootstrap d:4 e:5").unwrap()
    else {
        panic!("another command");
    };
    assert_eq!(run.listen, ["a:1", "b:2", "c:3"]);
    assert_eq!(run.bootstrap, ["d:4", "e:5"]);
    assert_eq!((run.api, run.exit_with_stdin), (vec!["unix:/x".to_owned()], false));
}

#[test]
fn options_after_an_operation_are_options() {
    let Command::Put(put) = parse("put orset/online add alice -5 --durable").unwrap() else {
        panic!("another command")
    };
    assert_eq!((put.operation, put.durable), (vec!["add".to_owned(), "alice".into(), "-5".into()], true));
}
