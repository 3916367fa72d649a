from pathlib import Path

from nanoide.backends.discovery import LocalServer, OfferedKey, discover
from tests.backends.servers import closed_port, respond, serve


async def test_servers_files_and_keys_are_found_and_nothing_is_written(tmp_path: Path) -> None:
    """A server tells its models, a file is known by its first bytes, a key by its variable's name alone."""
    home, models = tmp_path / "home", tmp_path / "models"
    deep = home / ".lmstudio" / "models" / "maker" / "thing"
    deep.mkdir(parents=True)
    models.mkdir()
    (models / "one.gguf").write_bytes(b"GGUF....")
    (models / "fake.gguf").write_bytes(b"nothing of the kind")
    (deep / "two-00001-of-00002.gguf").write_bytes(b"GGUF..")
    (deep / "two-00002-of-00002.gguf").write_bytes(b"GGUF..")
    (home / "models").symlink_to(models)
    before = sorted(tmp_path.rglob("*"))
    async with (
        serve(respond(200, {"data": [{"id": "qwen\x1b[31m"}]})) as server,
        serve(respond(404, "<html>", kind="text/html")) as web,
    ):
        ports = [("Ollama", server.port), ("vLLM", web.port), ("LM Studio", await closed_port())]
        found = await discover(models, home=home, environ={"OPENAI_API_KEY": "sk-x", "PATH": "/bin"}, ports=ports)
    assert found.servers == (LocalServer("Ollama", f"http://127.0.0.1:{server.port}/v1", ("qwen",)),)
    assert [Path(file.path).name for file in found.files] == ["one.gguf", "two-00001-of-00002.gguf"]
    assert found.keys == (OfferedKey("OPENAI_API_KEY", "OpenAI"),)
    assert sorted(tmp_path.rglob("*")) == before
    assert all("authorization" not in request.headers for request in server.requests)
