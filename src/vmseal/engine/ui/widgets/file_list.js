// The entries of a folder: folders are opened, files are chosen or not. Names are shown as text.
export default {
  template: `
    <div class="vs-files">
      <p><button type="button" class="vs-small" :disabled="parent === null" @click="$emit('folder', parent)">Up</button>
        <code>{{ path || "Folders that may be imported from" }}</code></p>
      <ul :aria-label="'Files in ' + (path || 'the allowed folders')">
        <li v-for="entry in entries" :key="entry.path">
          <button v-if="entry.folder" type="button" class="vs-small" @click="$emit('folder', entry.path)">
            {{ entry.name }}/</button>
          <label v-else><input type="checkbox" :checked="chosen.includes(entry.path)"
            @change="$emit('file', { path: entry.path, chosen: $event.target.checked })" />
            {{ entry.name }} <span class="vs-hint">{{ entry.size }}</span></label>
        </li>
      </ul>
      <p v-if="!entries.length" class="vs-hint">{{ empty }}</p>
      <p v-if="more" class="vs-hint">and {{ more }} more; write the path instead</p>
    </div>`,
  props: { path: String, parent: String, entries: Array, chosen: Array, more: Number, empty: String },
};
