# Runs the server in this process's place, with a watcher beside it that holds the other end of a pipe to the process
# that wanted the server. When that process ends in whatever way, the pipe closes and the watcher ends the server.
# Arguments: the data directory, `keep` or a directory to remove once the server has ended, the server and its arguments.
data=$1 remove=$2
shift 2
exec 3<&0
# Started from a subshell that ends, so that the watcher is not the server's child: the server would not know it.
(
  (
    read -r word <&3
    [ "$word" = leave ] && exit 0
    # The lock file appears within moments of the start; it also tells that this number is still the server's.
    tries=0
    until [ "$(head -n 1 "$data/postmaster.pid" 2>/dev/null)" = "$$" ] || [ $tries -ge 50 ]; do
      tries=$((tries + 1))
      sleep 0.1
    done
    if [ $tries -lt 50 ]; then
      kill -QUIT $$
      while kill -0 $$; do sleep 0.05; done
    fi
    [ "$remove" = keep ] || rm -rf "$remove"
  ) >/dev/null 2>&1 &
)
exec "$@" 3<&- </dev/null
