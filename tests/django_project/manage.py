"""manage.py, which also runs several commands in one process: ``manage.py migrate then vss_sync``."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_.settings")
command = sys.argv[:1]
for argument in [*sys.argv[1:], "then"]:
    if argument == "then":
        execute_from_command_line(command)
        command = sys.argv[:1]
    else:
        command.append(argument)
