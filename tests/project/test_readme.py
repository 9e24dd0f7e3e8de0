"""The Python code of the README runs and prints what its comments say."""

import re
from pathlib import Path

README = Path(__file__).parents[2].joinpath("README.md").read_text()


def test_the_code_of_the_readme(capsys):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    exec(compile(code, "README.md", "exec"), {})
    printed = re.findall(r"^print\(.*\) +# (.*)$", code, re.MULTILINE)
    assert len(printed) == 5
    assert capsys.readouterr().out.splitlines() == printed


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert len(local) >= 6
    assert [
        target for target in local if not Path(__file__).parents[2].joinpath(target).exists()
    ] == []
