"""Certificates: keys on disk, and everything that must make one fail."""

import base64
import json
import os
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'sign')")
sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import FINISHED, judged_run, node

from bench.certificates import keys, times
from bench.certificates.certificate import decode, results_digests
from bench.certificates.issue import issue, write
from bench.certificates.trust import Revocation, Store, Trust
from bench.certificates.verify import sign, verify
from bench.cli.certificate_verb import command
from bench.errors import ConfigError, InfraError, UsageError
from bench.headers import RUN
from bench.identity import identity_of
from bench.results import ROWS
from bench.verdicts import read_verdict, write_verdict

DAY = timedelta(days=1)
MEASURED = times.parse(FINISHED)
SIGNED = MEASURED + timedelta(hours=1)
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Bench:
    """A judged run, a key that signed it, and a store that trusts the key."""

    def __init__(self, folder: Path, provenance: str = "measured") -> None:
        self.run = judged_run(
            folder / "results" / "run",
            ("gpu-01", "accept"),
            ("gpu-02", "reject"),
            ("gpu-03", "inconclusive"),
            provenance=provenance,
        )
        self.key_file = folder / "ops"
        self.public = keys.generate(self.key_file)
        self.key = keys.load_private(self.key_file)
        self.store_folder = folder / "trust"
        self.store = Store(self.store_folder)
        made = issue(self.run, self.key, valid=90 * DAY, moment=SIGNED, every=True)
        self.signed = {one.certificate.node: one for one in made.signed}
        self.raw = self.signed["gpu-01"].file_bytes()

    def trust(self, **changes) -> None:
        rest = {"name": "ops", "key": keys.encode_public(self.public), "uses": ["certify"]}
        self.store.trust(Trust(**{**rest, **changes}))

    def problems(self, raw: bytes | None = None, moment: datetime = SIGNED, **changes) -> str:
        answer = verify(raw or self.raw, Store(self.store_folder), moment=moment, **changes)
        assert answer.valid == (not answer.problems)
        return "; ".join(answer.problems)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.trust()
    return made


# ---- keys ----


def test_a_private_key_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        public = keys.generate(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "key.pub").stat().st_mode) == 0o644
    assert keys.load_public(tmp_path / "key.pub") == public
    assert keys.load_private(tmp_path / "key").public == public


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_a_key_is_never_overwritten(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        keys.generate(tmp_path / "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_key_that_others_can_read_is_refused(tmp_path):
    keys.generate(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(UsageError, match=r"others can read this private key \(mode 0640\)"):
        keys.load_private(tmp_path / "key")


def test_a_passphrase_protects_a_key(tmp_path):
    keys.generate(tmp_path / "key", b"correct horse")
    assert keys.needs_passphrase(tmp_path / "key")
    assert keys.load_private(tmp_path / "key", b"correct horse").public
    with pytest.raises(UsageError, match="needs its passphrase"):
        keys.load_private(tmp_path / "key")
    with pytest.raises(UsageError, match="the passphrase is wrong"):
        keys.load_private(tmp_path / "key", b"wrong")


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", b"\xff" * 99])
def test_a_file_that_is_no_key_is_a_sentence(tmp_path, text):
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no public key"):
        keys.load_public(path)
    with pytest.raises(UsageError, match="no private key"):
        keys.load_private(path)


def test_openssl_reads_the_keys_and_checks_the_signature(bench, tmp_path):
    """Nobody needs hengsuan to check a certificate."""
    signed = bench.signed["gpu-01"]
    (tmp_path / "data").write_bytes(signed.certificate.signed_bytes())
    (tmp_path / "signature").write_bytes(base64.b64decode(signed.signature))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", f"{bench.key_file}.pub", "-rawin"]
    words += ["-in", str(tmp_path / "data"), "-sigfile", str(tmp_path / "signature")]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    if "rawin" in done.stderr:
        pytest.skip("this openssl cannot check Ed25519")
    assert done.returncode == 0, done.stderr


# ---- what is valid, and what is not ----


def test_an_accepted_node_has_a_valid_certificate(bench):
    assert bench.problems() == ""
    certificate = decode(bench.raw).certificate
    assert certificate.checks == {"ok": 12}
    assert certificate.versions["torch"] == "2.13.0"
    assert certificate.versions["node driver"] == "535.1"
    assert set(certificate.results) == {RUN, ROWS}


@settings(max_examples=300, suppress_health_check=UNCHECKED)
@given(data=st.data())
def test_any_changed_byte_fails(bench, data):
    place = data.draw(st.integers(0, len(bench.raw) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda one: one != bench.raw[place]))
    changed = bench.raw[:place] + bytes([value]) + bench.raw[place + 1 :]
    assert bench.problems(changed)


def test_every_bit_of_every_byte_counts(bench):
    store = Store(bench.store_folder)
    for place in range(len(bench.raw)):
        changed = bytearray(bench.raw)
        changed[place] ^= 1 << (place % 8)
        assert not verify(bytes(changed), store, moment=SIGNED).valid, place


ODD = st.sampled_from(
    ["", "\ud800", "\0", "x" * 5000, "9" * 30, 1e999, -1, 2**70, 1.5, None, True, [], {}, "NaN"]
)


@settings(max_examples=300, suppress_health_check=UNCHECKED)
@given(data=st.data())
def test_odd_values_are_a_sentence_and_never_an_error(bench, data):
    document = json.loads(bench.raw)
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.just(0))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        place = inner
    value = data.draw(ODD.filter(lambda one: one != inner))
    place[key] = value
    written = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert bench.problems(written)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw + b"\n",
        lambda raw: raw[:-1],
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'"cases":1', b'"cases":1,"cases":1'),
        lambda raw: raw.replace(b"gpu-01", b"gpu-\\u0030\\u0031"),
        lambda raw: json.dumps(json.loads(raw), indent=1).encode(),
        lambda raw: raw.replace(b'"verdict":"accept"', b'"verdict":"reject"'),
        lambda raw: b"",
        lambda raw: b"[" * 10_000,
        lambda raw: b"\xff\xfe",
        lambda raw: b" " * (1 << 21),
    ],
)
def test_the_same_in_other_bytes_is_not_what_was_signed(bench, change):
    changed = change(bench.raw)
    assert changed != bench.raw
    assert not verify(changed, Store(bench.store_folder), moment=SIGNED).valid


def test_a_signature_does_not_move_to_another_certificate(bench):
    other = msgspec.structs.replace(
        bench.signed["gpu-02"], signature=bench.signed["gpu-01"].signature
    )
    assert "the signature does not hold" in bench.problems(other.file_bytes(), any_verdict=True)


def test_an_unknown_key_fails_until_it_is_trusted(tmp_path):
    made = Bench(tmp_path)
    assert "nobody here trusts the key" in made.problems()
    made.trust()
    assert made.problems() == ""


def test_naming_a_trusted_key_does_not_help_another_one(bench, tmp_path):
    keys.generate(tmp_path / "mallory")
    forged = keys.load_private(tmp_path / "mallory").sign(
        bench.signed["gpu-02"].certificate.signed_bytes()
    )
    raw = msgspec.structs.replace(bench.signed["gpu-02"], signature=forged).file_bytes()
    assert "the signature does not hold" in bench.problems(raw, any_verdict=True)
    with pytest.raises(ValueError, match="another key"):
        sign(bench.signed["gpu-02"].certificate, keys.load_private(tmp_path / "mallory"))


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (SIGNED - timedelta(minutes=5), ""),
        (SIGNED - timedelta(minutes=6), "not valid yet"),
        (MEASURED + 90 * DAY + timedelta(minutes=5), ""),
        (MEASURED + 90 * DAY + timedelta(minutes=6), "has expired: it was valid until 2026-05-30"),
    ],
)
def test_validity_ends_after_measuring_with_five_minutes_for_clocks(bench, moment, said):
    found = bench.problems(moment=moment)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("trusted", "said"),
    [
        ({"uses": ["submission"]}, "trusted for submission only"),
        ({"chips": ["other-*"]}, "trusted for the chips other-*, not for acme-1"),
        ({"chips": ["acme-*"], "sites": ["beijing"]}, ""),
        ({"sites": ["shanghai"]}, "trusted for the sites shanghai, not for beijing"),
        ({"since": "2026-03-02"}, "is trusted from 2026-03-02 on"),
        ({"until": "2026-03-01"}, "the trust in the key ops ended on 2026-03-01"),
        ({"since": "2026-01-01", "until": "2027-01-01"}, ""),
    ],
)
def test_a_key_counts_for_what_it_is_trusted_for(tmp_path, trusted, said):
    made = Bench(tmp_path)
    made.trust(**trusted)
    found = made.problems()
    assert said in found
    assert bool(said) == bool(found)


def test_a_certificate_for_one_use_is_none_for_another(bench):
    assert "a certificate for certify, not for submission" in bench.problems(use="submission")


def test_a_revoked_key_fails(bench):
    bench.store.revoke(Revocation(what=keys.key_id(bench.public), reason="laptop stolen"))
    assert bench.problems() == "its key was revoked: laptop stolen"


def test_a_key_revoked_from_a_date_on_spares_what_was_before(bench):
    number = keys.key_id(bench.public)
    bench.store.revoke(Revocation(what=number, since="2026-03-02"))
    assert bench.problems() == ""
    assert "revoked from 2026-03-02 on" in bench.problems(
        _issued(bench, MEASURED + 2 * DAY), moment=MEASURED + 2 * DAY
    )


def _issued(bench, moment):
    return issue(bench.run, bench.key, valid=90 * DAY, moment=moment).signed[0].file_bytes()


def test_one_revoked_certificate_fails_and_no_other(bench):
    again = _issued(bench, SIGNED + DAY)
    number = decode(bench.raw).certificate.id()
    bench.store.revoke(Revocation(what=number, reason="wrong cable"))
    assert bench.problems() == "this certificate was revoked: wrong cable"
    assert bench.problems(again, moment=SIGNED + DAY) == ""


def test_it_must_be_of_this_machine(bench):
    assert bench.problems(here=identity_of(node("gpu-01"))) == ""
    found = bench.problems(here=identity_of(node("gpu-02")))
    assert "not this machine: it is another machine" in found
    assert "acme-1 gpu-01-0 is not there any more" in found
    cards = node("gpu-01").devices
    swapped = msgspec.structs.replace(
        node("gpu-01"), devices=(cards[0], msgspec.structs.replace(cards[1], serial="new"))
    )
    assert "acme-1 new was not there before" in bench.problems(here=identity_of(swapped))


def test_it_must_be_of_these_results(bench):
    assert bench.problems(results=results_digests(bench.run)) == ""
    with (bench.run / ROWS).open("ab") as file:
        file.write(b"\n")
    changed = bench.problems(results=results_digests(bench.run))
    assert changed == f"{ROWS} of the run is not what it was when this was signed"


@pytest.mark.parametrize("provenance", ["stand-in", "simulated"])
def test_what_was_not_measured_fails_as_measured(tmp_path, provenance):
    made = Bench(tmp_path, provenance)
    made.trust()
    assert f"its results are {provenance}, not measured" in made.problems()
    assert made.problems(allow=[provenance]) == ""
    assert made.problems(allow=["imported"])


@pytest.mark.parametrize(
    ("name", "said"), [("gpu-02", "gpu-02 was rejected: gemm"), ("gpu-03", "neither accepted nor")]
)
def test_another_verdict_is_signed_as_what_it_is(bench, name, said):
    raw = bench.signed[name].file_bytes()
    assert said in bench.problems(raw)
    assert bench.problems(raw, any_verdict=True) == ""


# ---- issuing ----


def test_only_accepted_nodes_get_one_unless_asked(bench, tmp_path):
    made = issue(bench.run, bench.key, valid=90 * DAY, moment=SIGNED)
    assert [one.certificate.node for one in made.signed] == ["gpu-01"]
    assert [text.partition(" ")[0] for text in made.left] == ["gpu-02", "gpu-03"]
    path = write(made.signed[0], tmp_path / "out")
    assert path.read_bytes() == made.signed[0].file_bytes()


def test_a_file_in_the_place_of_the_folder_is_a_sentence(bench, tmp_path):
    (tmp_path / "out").write_text("")
    made = issue(bench.run, bench.key, valid=90 * DAY, moment=SIGNED)
    with pytest.raises(InfraError, match="out: cannot write: File exists"):
        write(made.signed[0], tmp_path / "out")


def test_names_of_nodes_do_not_choose_where_files_go(tmp_path):
    names = ["../../etc/passwd", "a/b", "", "<script>", "x" * 300]
    run = judged_run(tmp_path / "run", *((name, "accept") for name in names))
    keys.generate(tmp_path / "key")
    made = issue(run, keys.load_private(tmp_path / "key"), valid=DAY, moment=SIGNED)
    paths = [write(one, tmp_path / "out") for one in made.signed]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {tmp_path / "out"}
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)


def test_results_that_changed_since_the_verdict_are_not_signed(bench):
    (bench.run / ROWS).write_bytes(b"")
    with pytest.raises(UsageError, match="not what it was when the run was judged"):
        issue(bench.run, bench.key, valid=DAY, moment=SIGNED)


def test_a_part_of_a_suite_is_not_signed(bench):
    found = read_verdict(bench.run)
    found.only = "stream *"
    write_verdict(bench.run, found)
    with pytest.raises(UsageError, match=r"only stream \* was measured"):
        _issued(bench, SIGNED)


def test_a_run_that_is_too_old_is_not_signed(bench):
    with pytest.raises(UsageError, match="would have ended on 2026-03-02"):
        issue(bench.run, bench.key, valid=DAY, moment=MEASURED + 2 * DAY)


# ---- the store ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: ops\nkey: AAAA\nuses: [certify]\n", r"ops.yaml:2: key: this is no public key"),
        ("name: ops\nkey: '!'\nuses: [certify]\n", r"ops.yaml:2: key: this is no public key"),
        ("name: other\nkey: {key}\nuses: [certify]\n", r"ops.yaml:1: name: must be 'ops'"),
        ("name: ops\nkey: {key}\nuses: [everything]\n", r"ops.yaml:3: unknown .*everything"),
        ("name: ops\nkey: {key}\nuses: []\n", r"ops.yaml:3: uses: a key that is trusted for not"),
        ("name: ops\nkey: {key}\nuses: [certify]\nuntil: soon\n", r"ops.yaml:4: until: 'soon'"),
        ("name: ops\nkey: {key}\nuses: [certify]\nadmin: true\n", r"ops.yaml:4: unknown key"),
    ],
)
def test_a_broken_store_is_an_error_and_never_a_key_less(tmp_path, text, said):
    folder = tmp_path / "keys"
    folder.mkdir()
    key = keys.encode_public(bytes(32))
    (folder / "ops.yaml").write_text(text.replace("{key}", key))
    with pytest.raises(ConfigError, match=said):
        Store(tmp_path)


def test_a_broken_revocation_is_an_error(bench):
    number = keys.key_id(bench.public)
    path = bench.store.revoke(Revocation(what=number))
    path.write_text(path.read_text().replace("ed25519:", "ed25519 "))
    with pytest.raises(ConfigError, match="what: must be"):
        Store(bench.store_folder)


def test_a_store_that_everybody_may_write_to_is_refused(bench):
    (bench.store_folder / "keys").chmod(0o777)
    with pytest.raises(UsageError, match="everybody on this machine may write"):
        Store(bench.store_folder)


def test_a_key_has_one_name(bench):
    with pytest.raises(UsageError, match="trusted already, as ops"):
        bench.trust(name="again")


# ---- the command line ----


def cli(*words, env=None):
    done = CliRunner().invoke(
        command, [str(word) for word in words], standalone_mode=False, env=env or {}
    )
    if done.exception is not None:
        if not isinstance(done.exception, UsageError):
            raise done.exception
        return int(done.exception.exit), str(done.exception)
    return done.return_value, done.output


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGSUAN_CONFIG_PATH", str(tmp_path / "config"))
    judged_run(
        tmp_path / "results" / "run",
        ("gpu-01", "accept"),
        ("gpu-02", "reject"),
        finished=times.written(times.now()),
    )
    assert cli("keygen", tmp_path / "key")[0] == 0
    return tmp_path


def test_from_a_key_to_a_valid_certificate_and_back(place):
    results = ("--results", place / "results")
    out = place / "out"
    assert cli("sign", "run", "--key", place / "key", "--out", out, *results)[0] == 0
    (file,) = out.iterdir()
    code, said = cli("verify", out)
    assert code == 1
    assert "not valid: nobody here trusts the key" in said
    assert cli("trust", place / "key.pub", "--name", "ops")[0] == 0
    code, said = cli("verify", out, "--run", "run", *results)
    assert code == 0, said
    assert "valid: gpu-01 accepted by certify" in said
    assert "says ops" in said
    assert cli("show", file)[0] == 0
    code, said = cli("verify", file, "--at", "2040-01-01", "--json")
    assert code == 1
    assert "expired" in json.loads(said)[str(file)]["problems"][0]
    assert cli("verify", file, "--here")[0] == 1
    assert cli("revoke", file, "--reason", "oops")[0] == 0
    assert "revoked: oops" in cli("verify", file)[1]
    assert cli("revoke", "ops", "--since", "2020-01-01")[0] == 0
    assert "its key was revoked from 2020-01-01 on" in cli("verify", file)[1]
    assert "ops" in cli("trust")[1]


def test_a_certificate_of_this_machine_is_valid_here(place, monkeypatch):
    from bench.cluster.describe import describe

    here = describe("cpu", share=True, address="")
    run = judged_run(
        place / "results" / "here", ("x", "accept"), finished=times.written(times.now())
    )
    verdict = msgspec.json.decode((run / "verdict.json").read_bytes())
    verdict["nodes"][0]["identity"] = msgspec.to_builtins(identity_of(here))
    (run / "verdict.json").write_bytes(msgspec.json.encode(verdict))
    out = place / "out"
    assert cli("sign", run / RUN, "--key", place / "key", "--out", out)[0] == 0
    cli("trust", place / "key.pub", "--name", "ops")
    code, said = cli("verify", out, "--here")
    assert code == 0, said


def test_a_rejected_run_gives_no_certificate_and_exit_1(place):
    judged_run(place / "results" / "bad", ("gpu-02", "reject"))
    words = ("sign", place / "results" / "bad", "--key", place / "key", "--out", place / "out")
    code, said = cli(*words, "--valid", "3650d")
    assert code == 1
    assert "gpu-02 gets no certificate: its verdict is reject" in said
    assert cli(*words, "--valid", "3650d", "--all")[0] == 0
    assert cli("trust", place / "key.pub", "--name", "ops")[0] == 0
    code, said = cli("verify", place / "out", "--any-verdict")
    assert code == 0
    assert "valid: gpu-02 rejected by certify" in said
    assert cli("verify", place / "out")[0] == 1


def test_a_passphrase_comes_from_the_environment_only(place):
    secret = {"HENGSUAN_KEY_PASSPHRASE": "tell nobody"}
    key = place / "locked"
    assert cli("keygen", key, "--passphrase", env=secret)[0] == 0
    assert b"ENCRYPTED" in key.read_bytes()
    words = ("sign", place / "results" / "run", "--key", key, "--out", place / "out")
    code, said = cli(*words)
    assert code == 2
    assert "HENGSUAN_KEY_PASSPHRASE" in said
    assert cli(*words, env=secret)[0] == 0
    assert cli("keygen", place / "k3", "--passphrase", env={"HENGSUAN_KEY_PASSPHRASE": ""})[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "nowhere"], "nowhere: cannot read: No such file"),
        (["verify", "."], "no certificates in this folder"),
        (["trust", "key.pub"], "--name says whose key it is"),
        (["trust", "key", "--name", "ops"], "this is a private key"),
        (["trust", "key.pub", "--name", "../x"], "no name for a key"),
        (["trust", "key.pub", "--name", "x", "--until", "soon"], "--until: 'soon' is no date"),
        (["revoke", "nobody"], "unknown key, certificate or file 'nobody'"),
        (["revoke", f"sha256:{'0' * 64}", "--since", "2026-01-01"], "--since goes with a key"),
        (["sign", "run", "--key", "key", "--out", "o", "--valid", "0d"], "--valid: must be above"),
        (["sign", "run", "--key", "key", "--out", "o", "--valid", "x"], "--valid: 'x' is not"),
        (["sign", "nope", "--key", "key", "--out", "o"], "unknown run 'nope'"),
        (["sign", "run", "--key", "key.pub", "--out", "o"], "others can read"),
        (["show", "key.pub"], "this is no certificate"),
    ],
)
def test_bad_usage_is_a_sentence(place, monkeypatch, words, said):
    monkeypatch.chdir(place)
    code, output = cli(*words)
    assert code == 2
    assert said in output


def test_without_cryptography_it_says_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for words in (["keygen", place / "k2"], ["verify", place / "key.pub"]):
        code, output = cli(*words)
        assert code == 2
        assert "pip install 'hengsuan[sign]'" in output
    assert not (place / "k2").exists()


def test_a_passphrase_is_not_among_what_runs_remember(monkeypatch):
    from bench.cli.environment import environment

    monkeypatch.setenv(keys.PASSPHRASE, "tell nobody")
    assert "tell nobody" not in json.dumps(environment())


def test_what_a_certificate_says_cannot_command_the_terminal(tmp_path):
    run = judged_run(tmp_path / "run", ("evil\x1b[2J\nnode", "accept"))
    keys.generate(tmp_path / "key")
    made = issue(run, keys.load_private(tmp_path / "key"), valid=DAY, moment=SIGNED)
    path = write(made.signed[0], tmp_path / "out")
    for words in (["show", path], ["verify", path, "--store", tmp_path / "none"]):
        assert "\x1b[2J" not in cli(*words)[1]


def test_moments_are_utc():
    assert times.parse("2026-01-01") == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert times.written(times.parse("2026-01-01T08:00:00+08:00")) == "2026-01-01T00:00:00Z"
    for text in ("", "soon", "2026-13-01", "9" * 400):
        with pytest.raises(ValueError, match="is no date"):
            times.parse(text)
