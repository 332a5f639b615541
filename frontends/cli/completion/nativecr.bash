# bash completion for nativecr
_nativecr() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
  case $previous in
    -D | --images | --parent | --freeze-cgroup) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --pidfile | --trace) COMPREPLY=($(compgen -f -- "$current")); return ;;
    -t | --pid) COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "$current")); return ;;
    --network-lock) COMPREPLY=($(compgen -W 'nftables skip' -- "$current")); return ;;
    --manage-cgroups) COMPREPLY=($(compgen -W 'ignore none props soft full strict' -- "$current")); return ;;
    --root) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --action-script) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --log-level) COMPREPLY=($(compgen -W 'error warning info debug' -- "$current")); return ;;
  esac
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W 'dump restore check inspect verify pre-dump page-server lazy-pages dedup --help --version' -- "$current"))
    return
  fi
  local common='--json --log-level --help' options=
  case $command in
    dump) options='--pid --images --leave-running --leave-stopped --shell-job --freeze-cgroup --freeze-timeout --threads --trace --tcp-established --tcp-close --tcp-skip-in-flight --network-lock'
        options+=' --root --external --empty-ns --ext-unix-sk --manage-cgroups --action-script --parent --track-memory --auto-dedup --page-server --lazy-pages --address --port --status-fd' ;;
    restore) options='--images --detach --leave-stopped --shell-job --pidfile --threads --trace --tcp-established --tcp-close'
        options+=' --sibling --root --external --join-ns --inherit-fd --cgroup-root --empty-ns --manage-cgroups --action-script --lazy-pages --lazy-pages-socket' ;;
    pre-dump) options='--pid --images --parent --page-server --address --port --freeze-cgroup --freeze-timeout --threads --trace' ;;
    page-server) options='--images --address --port --status-fd' ;;
    lazy-pages) options='--images --socket --page-server --address --port --status-fd' ;;
    dedup) options='--images' ;;
    check) options='--pid' ;;
    inspect) options='--images --maps --files --pid' ;;
    verify) options='--images' ;;
  esac
  COMPREPLY=($(compgen -W "$options $common" -- "$current"))
}
complete -F _nativecr nativecr
