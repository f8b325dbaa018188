/**
 * Each script hands the words typed so far to `tenantctl __complete`, which answers with a candidate a line, as
 * value, tab, description. No answer leaves the shell to complete file names.
 */
export const completionScripts = {
  bash: `# bash completion for tenantctl
_tenantctl() {
  local current line
  local -a words
  COMPREPLY=()
  # Without bash-completion's help "--output=js" comes as three words; put them together again.
  local typed="\${COMP_LINE:0:\${COMP_POINT}}"
  read -r -a words <<< "$typed"
  [[ "$typed" == *[[:space:]] ]] && words+=("")
  current="\${words[\${#words[@]}-1]}"
  while IFS= read -r line; do
    line="\${line%%$'\\t'*}"
    [[ "$line" == "$current"* ]] || continue
    # bash replaces only what follows the last "=".
    [[ "$current" == *=* ]] && line="\${line#*=}"
    COMPREPLY+=("$line")
  done < <(tenantctl __complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _tenantctl tenantctl
`,
  zsh: `#compdef tenantctl
_tenantctl() {
  local line value
  local -a candidates
  while IFS= read -r line; do
    value="\${line%%$'\\t'*}"
    if [[ "$line" == *$'\\t'* ]]; then
      candidates+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
    else
      candidates+=("\${value//:/\\\\:}")
    fi
  done < <(tenantctl __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#candidates} )); then
    _describe 'tenantctl' candidates
  else
    _files
  fi
}
# Sourced, or autoloaded from fpath.
if [[ "\${funcstack[1]}" == "_tenantctl" ]]; then
  _tenantctl "$@"
else
  compdef _tenantctl tenantctl
fi
`,
  fish: `# fish completion for tenantctl
function __tenantctl_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l candidates (tenantctl __complete -- $words[2..-1] 2>/dev/null)
  if set -q candidates[1]
    printf '%s\\n' $candidates
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c tenantctl -f -a '(__tenantctl_complete)'
`,
} as const

export type Shell = keyof typeof completionScripts
