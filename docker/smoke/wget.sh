#!/bin/bash
# Success when the port of the URL that comes last is open.
port=${*: -1}
port=${port##*:}
exec 3<> "/dev/tcp/127.0.0.1/${port%%/*}"
