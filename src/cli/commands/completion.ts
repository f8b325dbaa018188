import { Argument } from 'commander'
import { defineCommand, examples } from '../command.ts'
import { completionScripts, type Shell } from '../completion-scripts.ts'

const shells = Object.keys(completionScripts) as Shell[]

export default defineCommand<Shell, { shell: Shell; script: string }>({
  configure(command) {
    command.addArgument(new Argument('<shell>', 'which shell').choices(shells))
    examples(command, [
      'source <(tenantctl completion bash)                                   # in ~/.bashrc',
      'source <(tenantctl completion zsh)                                    # in ~/.zshrc, after compinit',
      'tenantctl completion fish > ~/.config/fish/completions/tenantctl.fish',
    ])
  },
  read: command => command.processedArgs[0] as Shell,
  run: async shell => ({ shell, script: completionScripts[shell] }),
  text: result => result.script,
})
