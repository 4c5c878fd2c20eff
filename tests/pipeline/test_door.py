"""How a command ends: an expected error and Ctrl-C are one line each."""

import pytest

from tasks.pipeline.door import one_line_errors


@pytest.mark.parametrize(("error", "code", "lines"), [(KeyboardInterrupt(), 130, 1), (OSError("disk full"), "error: disk full", 0)])
def test_an_end_is_one_line(capsys: pytest.CaptureFixture[str], error: BaseException, code: int | str, lines: int) -> None:
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == code  # Python prints a text that is the code
    assert capsys.readouterr().err.count("\n") == lines


def test_an_error_of_mlflow_is_one_line_without_its_address() -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(SystemExit, match="error: MLflow cannot be used at") as end, one_line_errors():
        raise MlflowException("nothing answers at http://me:secret@host/")
    assert "secret" not in str(end.value)
