"""One of two processes, joined by gloo, that wait for something to do; see ``in_two_processes`` in conftest.py."""

import importlib.util
import os
import pickle
import sys
import traceback

import torch
from torch import distributed


def answer_to(file, name, arguments):
    spec = importlib.util.spec_from_file_location("shared_by_two", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)(*arguments)


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a test prints is no answer
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    while (order := pickle.load(sys.stdin.buffer)) is not None:
        try:
            answer = (True, answer_to(*order))
        except BaseException:
            answer = (False, traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
