// The phases of a task and their steps, with what runs now.
export default {
  template: `
    <ol class="vs-phases" aria-label="Phases">
      <li v-for="phase in phases" :key="phase.name" :aria-current="phase.status === 'running' ? 'step' : null">
        <span class="vs-badge" :class="'vs-' + phase.tone">{{ phase.status }}</span> <b>{{ phase.title }}</b>
        <ul v-if="phase.steps.length">
          <li v-for="step in phase.steps" :key="step.id">
            {{ step.description }}<template v-if="step.host"> on {{ step.host }}</template>
            <span v-if="step.status === 'running'" class="vs-progress">
              <progress max="100" :value="step.percent === null ? undefined : step.percent"
                :aria-label="step.description"></progress>
              <span v-if="step.percent !== null">{{ step.percent }} %</span>
              <span v-if="step.rate">{{ step.rate }}</span>
              <span v-if="step.left !== null">{{ duration(step.left) }} left</span>
              <code v-if="step.detail">{{ step.detail }}</code>
            </span>
            <span v-else>: {{ step.status }}<template v-if="step.took !== null"> in {{ duration(step.took) }}</template>
            </span>
          </li>
        </ul>
      </li>
    </ol>`,
  props: { phases: Array },
  methods: {
    duration: (seconds) => window.vmseal.duration(seconds),
  },
};
