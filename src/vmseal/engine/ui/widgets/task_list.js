// Jobs, each with its steps to unfold. All data is shown as text.
export default {
  template: `
    <div>
      <p v-if="!jobs.length">Nothing has been done yet. What you ask for is listed here.</p>
      <ul class="vs-tasks" aria-label="Tasks">
        <li v-for="job in jobs" :key="job.id">
          <p class="vs-line">
            <span class="vs-badge" :class="'vs-' + job.tone">{{ job.status }}</span>
            <a :href="'/tasks/' + job.id">{{ job.text }}</a>
            <span class="vs-soft"><time :datetime="job.started" :title="moment(job.started).utc">{{
              moment(job.started).local }}</time><template v-if="job.seconds !== null">, {{ duration(job.seconds)
              }}</template><template v-if="job.owner">, {{ job.owner }}</template></span>
          </p>
          <p v-if="job.reason" class="vs-error">{{ job.reason }}</p>
          <details v-if="job.steps.length" :open="job.status === 'running'">
            <summary :aria-label="'Steps of ' + job.text">Steps ({{ job.steps.length }})</summary>
            <ul>
              <li v-for="step in job.steps" :key="step.id">
                {{ step.text }}: {{ step.status }}
                <span v-if="step.running" class="vs-progress">
                  <progress max="100" :value="step.percent === null ? undefined : step.percent"
                    :aria-label="step.text"></progress>
                  <span v-if="step.percent !== null">{{ step.percent }} %</span>
                  <code v-if="step.detail">{{ step.detail }}</code>
                </span>
              </li>
            </ul>
          </details>
        </li>
      </ul>
    </div>`,
  props: { jobs: Array },
  methods: {
    moment: (iso) => window.vmseal.moment(iso),
    duration: (seconds) => window.vmseal.duration(seconds),
  },
};
